package auth

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	// drainRetry is how soon a caller may try again: another server may be up.
	drainRetry = time.Second
	// drainGap is the most between the ends of two streams: ten callers a second
	// that come back are no herd, and nobody waits longer than that calls for.
	drainGap = 100 * time.Millisecond
)

// Drain ends every stream with UNAVAILABLE, DRAINING and a RetryInfo, and from
// now on refuses new ones so. The ends are spread over the time given, or less
// where there are few, in no order, so that the callers do not all come back at
// once.
//
// A stream's turn comes to mean that nothing more is accepted from it. It ends
// when its handler waits for another message and has answered what it had
// received (see Hold); one whose client sends but once, at once. Drain returns
// when all have ended. When ctx ends, it ends those that are left.
func (g *Guard) Drain(ctx context.Context, over time.Duration) {
	refusal := Refusef(Draining, "the server drains").After(drainRetry)
	live := g.supervisor.refuse(refusal)
	rand.Shuffle(len(live), func(i, j int) { live[i], live[j] = live[j], live[i] })
	gap := min(over/time.Duration(max(1, len(live))), drainGap)
	for i, session := range live {
		session.leave(refusal)
		if i < len(live)-1 && !pause(ctx, gap) {
			break
		}
	}
	g.supervisor.gone(ctx, live)
	for _, session := range live {
		session.stream.end(refusal)
	}
}

func (s *session) leave(r *Refusal) {
	if s.replies {
		s.stream.end(r)
		return
	}
	s.stream.leave(r)
}

// pause waits and returns false if ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
