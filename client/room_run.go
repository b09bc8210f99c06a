package client

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"securechat/auth"
	chatpb "securechat/proto/chat"
)

// run has one stream after the other until the room ends.
func (r *Room) run(stream *Stream) {
	r.conn.mover.add(r)
	for {
		end := r.attend(stream)
		var err error
		if stream, err = r.reopen(end); err != nil {
			r.end(err)
			return
		}
	}
}

// attend takes what the stream brings and returns how it ended.
func (r *Room) attend(stream *Stream) error {
	r.lives = time.Time{}
	if !r.attach(stream) {
		_ = stream.Close() // Receive says so
	}
	var sender sync.WaitGroup
	sender.Go(func() { r.transmit(stream) })
	defer sender.Wait()
	defer r.detach(stream)
	for {
		m, err := stream.Receive(r.ctx)
		if err != nil {
			return err
		}
		if event := r.take(m); event != nil {
			r.offer(event)
		}
	}
}

// attach begins with a stream, and returns false where it begins at the wrong
// place: the program has caught up while it was opened.
func (r *Room) attach(stream *Stream) bool {
	r.mu.Lock()
	r.stream, r.spans, r.live, r.sent, r.typing = stream, stream.sender.Load().spans, false, 0, false
	fits := !r.rewind
	dropped := r.dropAbandoned()
	r.mu.Unlock()
	r.free(dropped)
	r.conn.mover.nudge() // the line may be an old one
	signal(r.wake)
	return fits
}

func (r *Room) detach(stream *Stream) {
	r.mu.Lock()
	r.stream = nil
	r.mu.Unlock()
	_ = stream.Close()
}

// reopen opens a stream in the place of one that was admitted and has ended.
func (r *Room) reopen(end error) (*Stream, error) {
	admitted := true
	for {
		successor, rewind := r.next()
		switch {
		case r.ctx.Err() != nil:
			if successor != nil {
				_ = successor.Close()
			}
			return nil, r.closed()
		case successor != nil:
			return successor, nil
		case rewind:
			end = nil
		case r.final(end, admitted):
			return nil, end
		case !r.hasBegun(): // Join says so, and waits for no other
			return nil, orLost(r.conn.server, end)
		default:
			if err := r.pause(end); err != nil {
				return nil, err
			}
		}
		ctx, cancel := context.WithTimeout(r.ctx, longestOpening)
		md, _ := r.whence()
		stream, err := r.conn.open(ctx, md)
		cancel()
		if err == nil && stream.User() != r.user {
			_ = stream.Close()
			return nil, ErrOtherUser
		}
		if err == nil {
			r.offer(Reconnected{})
			return stream, nil
		}
		end, admitted = err, false
	}
}

func (r *Room) hasBegun() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.begun
}

// next returns the stream to go on with, if there is one already, and whether the
// room is to go back to what the program has read.
func (r *Room) next() (successor *Stream, rewind bool) {
	r.mu.Lock()
	successor, r.successor = r.successor, nil
	if rewind = r.rewind; rewind {
		r.rewind, r.ahead, r.seen = false, false, r.kept
	}
	r.mu.Unlock()
	if rewind && successor != nil { // it begins further on
		_ = successor.Close()
		successor = nil
	}
	return successor, rewind
}

// whence is the metadata of a stream that goes on where the one before ended, and
// after which message that is, in a room that has a place.
func (r *Room) whence() (md metadata.MD, after uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	md = metadata.Pairs(chatpb.MetadataRoom, chatpb.EscapeUser(r.name))
	if r.placed {
		md.Set(chatpb.MetadataAfter, strconv.FormatUint(r.seen, 10))
	}
	return md, r.seen
}

// pause waits before the next attempt, and tells the program. Which attempt that is
// counts from the latest stream that was of use: it has been live for a while, or has
// brought something new.
func (r *Room) pause(end error) error {
	if !r.lives.IsZero() && time.Since(r.lives) >= longestReopening {
		r.tries = 0
	}
	r.lives = time.Time{}
	longest := min(r.first<<min(r.tries, 10), longestReopening)
	r.tries++
	wait := time.Duration(rand.Float64() * float64(longest)) // so that many do not come at once
	var e *Error
	if errors.As(end, &e) {
		wait += e.asked()
	}
	r.note(Reconnecting{Err: orLost(r.conn.server, end), Wait: wait})
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-r.ctx.Done():
		return r.closed()
	}
}

// orLost gives the end of a stream in good order, for which this side did not ask,
// words of its own.
func orLost(server string, end error) error {
	if end == io.EOF {
		return &Error{Server: server, Code: codes.Unavailable, Text: "the server has ended the stream"}
	}
	return end
}

// final says whether no other stream can help, as far as this side can know. A
// stream that was admitted and whose authority has run out may have a successor:
// the token source and the certificates may have something newer. What another
// node may see in another light, or will in a moment, is tried again as well.
func (r *Room) final(end error, admitted bool) bool {
	var e *Error
	if !errors.As(end, &e) || e.Retryable() {
		return false
	}
	switch e.Reason {
	case "": // not the server's word: a proxy's, or a transport's that was torn
		return !admitted || e.final || !slices.Contains([]codes.Code{codes.Internal, codes.Unknown, codes.Canceled, codes.Aborted}, e.Code)
	case auth.TokenExpired, auth.TokenKeyRetired, auth.CertificateExpired, auth.SessionExpired:
		return !admitted
	case auth.TokenKeyUnknown, auth.TokenNotYetValid, auth.TooManyStreams, auth.TooManyConnections:
		return false
	}
	return true
}

// closed is how a room ends that this side has closed.
func (r *Room) closed() error {
	if errors.Is(context.Cause(r.ctx), ErrClosed) {
		return ErrClosed
	}
	return r.closedConn()
}

func (r *Room) closedConn() error {
	return &Error{Server: r.conn.server, Code: codes.Canceled, Text: "the connection was closed on this side", final: true}
}

// end is the last that happens.
func (r *Room) end(err error) {
	r.conn.mover.remove(r)
	r.mu.Lock()
	r.ended = err
	if err == ErrClosed {
		r.backlog = backlog{}
	}
	pending, successor := r.pending, r.successor
	r.pending, r.successor = nil, nil
	r.mu.Unlock()
	r.cancel(err)
	if successor != nil {
		_ = successor.Close()
	}
	close(r.over)
	for _, p := range pending {
		r.settle(p, Receipt{}, p.lost(err))
	}
	r.free(len(pending))
}

// lags and move make a Room a rider: it goes to the line of a new certificate by
// opening a stream there from where it is, and leaving the one that it has.
func (r *Room) lags(behind *line) (until time.Time, yes bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.placed || r.stream == nil || r.successor != nil {
		return time.Time{}, false
	}
	via := r.stream.sender.Load()
	return via.lease.until(), via.line != behind
}

func (r *Room) move(ctx context.Context, to *line, token string) (until time.Time, moved bool, err error) {
	md, after := r.whence()
	s := newStream(ctx, r.conn, md)
	first, err := r.conn.reach(ctx, s.ctx, to, md, token)
	if err != nil {
		s.end(err)
		if r.ctx.Err() != nil {
			err = nil
		}
		return time.Time{}, false, err
	}
	s.begin(first)
	if s.User() != r.user {
		_ = s.Close()
		return time.Time{}, false, ErrOtherUser
	}
	r.mu.Lock()
	before := r.stream
	fits := before != nil && r.ended == nil && after <= r.seen
	if fits {
		r.successor = s
	}
	r.mu.Unlock()
	if !fits { // it is being reopened, over the newest line that serves, or has gone back
		_ = s.Close()
		return time.Time{}, false, nil
	}
	_ = before.Close()
	return s.Expires(), true, nil
}
