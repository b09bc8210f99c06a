package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"

	"securechat/auth"
	authpb "securechat/proto/auth/v1"
)

// How often a keeper tries.
const (
	betweenCalls   = 2 * time.Second        // at least, from one Refresh on a line to the next
	betweenTokens  = 200 * time.Millisecond // at least, from one question to the token source to the next
	firstRetry     = time.Second            // doubled with each failure, more or less a fifth, up to
	longestRetry   = time.Minute
	longestAttempt = 30 * time.Second // for the token source and the server together
)

// A pace is how a line's attempts to refresh follow each other. It belongs to the
// keeper's goroutine.
type pace struct {
	next  time.Time // no attempt before
	tries uint      // that failed since the last success
	spent string    // the token that the server need not be shown again
}

// retry sets and returns the time of the next attempt after a failed one: no
// sooner than least from now, and where what is due expires soon, soon. It is
// zero where that is too late.
func (p *pace) retry(now, goal time.Time, least time.Duration) time.Time {
	wait := spread(min(firstRetry<<min(p.tries, 10), longestRetry), 0.2)
	p.tries++
	p.next = now.Add(max(least, min(wait, goal.Sub(now)/2)))
	if !p.next.Before(goal) {
		return time.Time{}
	}
	return p.next.Round(0)
}

// attempt asks the token source for a token and the server to take it.
func (k *keeper) attempt(via *line) {
	began := time.Now()
	held, goal := k.held(via, began)
	if goal.IsZero() {
		return // what was due has ended
	}
	ctx, cancel := context.WithDeadline(k.ctx, earlier(goal, began.Add(longestAttempt)))
	defer cancel()

	token, err := obtain(ctx, k.source)
	switch {
	case k.ctx.Err() != nil:
		return
	case err != nil:
		k.failed(via, goal, betweenTokens, RefreshFailed{Err: err})
		return
	case token == via.pace.spent: // the program has been told
		via.pace.retry(time.Now(), goal, betweenTokens)
		return
	}
	if expires, known := expiryOf(token); known && !expires.After(goal) {
		k.failed(via, goal, betweenTokens, RefreshFailed{Err: ErrNoNewToken})
		return
	}

	got, err := k.renew(ctx, via, token)
	switch {
	case k.ctx.Err() != nil:
	case err != nil:
		k.refused(via, goal, token, err)
	default:
		k.renewed(via, held, goal, token, got)
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func (k *keeper) failed(via *line, goal time.Time, least time.Duration, event RefreshFailed) {
	event.Retry = via.pace.retry(time.Now(), goal, least)
	k.events(event)
}

func (k *keeper) refused(via *line, goal time.Time, token string, err error) {
	event := RefreshFailed{Err: err}
	least := betweenCalls
	var refusal *Error
	if errors.As(err, &refusal) {
		event.Final = refusal.refusesToken()
		least = max(least, refusal.asked())
	}
	if event.Final {
		via.pace.spent = token
	}
	k.failed(via, goal, least, event)
}

// refusesToken says whether the server would refuse the same token again. Its
// keys and its clock may lag behind the issuer's.
func (e *Error) refusesToken() bool {
	if e.RetryAfter > 0 || e.Reason == auth.TokenKeyUnknown || e.Reason == auth.TokenNotYetValid {
		return false
	}
	switch e.Code {
	case codes.Unauthenticated, codes.PermissionDenied, codes.Unimplemented, codes.InvalidArgument:
		return true
	}
	return false
}

// renewed moves the leases on and tells the program.
func (k *keeper) renewed(via *line, held []*lease, goal time.Time, token string, got renewal) {
	now := time.Now()
	via.pace = pace{next: now.Add(betweenCalls)}
	moved, stranded := k.move(via, held, got, now)
	if moved && got.expires.After(goal) {
		k.events(Refreshed{Expires: got.expires, Streams: got.streams})
	} else if moved {
		via.pace.spent = token
		k.failed(via, goal, betweenCalls, RefreshFailed{Err: errNotExtended, Final: true})
	}
	if stranded {
		k.events(RefreshFailed{Err: errConnection, Final: true})
	}
}

// move gives the leases that were held when the refresh began what has come of
// it, and says whether some have moved, and whether some are on a connection that
// the refresh did not take: one that the server has asked to leave, for good.
func (k *keeper) move(via *line, held []*lease, got renewal, now time.Time) (moved, stranded bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	due := dueAt(now, got.expires)
	for _, l := range held {
		switch {
		case l.connection != got.connection:
			l.due = time.Time{}
			_, live := k.leases[l]
			stranded = stranded || live
		case got.streams == 0: // the server has ended them
			l.due = time.Time{}
		default:
			l.move(got.expires, due)
			moved = true
		}
	}
	// The refresh may have met streams that were admitted while it was under
	// way, and may not.
	for l := range k.leases {
		if l.line == via && l.connection == got.connection && got.expires.Before(l.until()) && got.streams > 0 {
			l.move(got.expires, due)
		}
	}
	return moved, stranded
}

// obtain asks the source for a token that can be sent.
func obtain(ctx context.Context, source TokenSource) (string, error) {
	token, err := source.Token(ctx)
	if err == nil {
		err = checkToken(token)
	}
	if err != nil {
		return "", fmt.Errorf("no token: %w", err)
	}
	return token, nil
}

// refresh asks the server to take the token for the line's live streams.
func refresh(ctx context.Context, l *line, token string) (renewal, error) {
	var over peer.Peer
	answer, err := l.session.Refresh(ctx, &authpb.RefreshRequest{}, grpc.PerRPCCredentials(bearer(token)), grpc.Peer(&over))
	if err != nil {
		return renewal{}, fromStatus(l.link.server, err, l.link.last())
	}
	expires, err := time.Parse(time.RFC3339, answer.GetExpires())
	if err != nil {
		return renewal{}, &Error{Server: l.link.server, Code: codes.Internal, Text: "the server's expiry does not parse: ask its operator", cause: err}
	}
	return renewal{expires: expires, streams: int(answer.GetStreams()), connection: localAddress(&over)}, nil
}

// localAddress tells the connections of a line apart.
func localAddress(p *peer.Peer) string {
	if p == nil || p.LocalAddr == nil {
		return ""
	}
	return p.LocalAddr.String()
}
