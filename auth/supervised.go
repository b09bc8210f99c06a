package auth

import (
	"context"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// supervisedStream hands nothing on and accepts nothing more once it has been
// cut. Once it is leaving it accepts nothing more, and goes on handing on what
// the handler sends.
//
// Both ends of a race are decided by state, one word: either the goroutine that
// ends the stream sees that the handler waits for a message, or the handler sees
// that the stream ends.
type supervisedStream struct {
	grpc.ServerStream
	ctx     context.Context
	session *session // set before the handler runs
	state   atomic.Uint64
	cutFor  atomic.Pointer[Refusal] // why it has been cut; set before over is
	partFor atomic.Pointer[Refusal] // why it is leaving, if not cut; set before leaving is
	cut     chan struct{}           // closed when the stream is cut
}

// The state: flags, and above them the number of messages that are held.
const (
	receiving uint64 = 1 << iota // the handler waits in RecvMsg
	leaving                      // nothing more is accepted
	told                         // and the handler knows
	over                         // nothing more is handed on either
	held                         // the first of the bits that count
)

func supervise(stream grpc.ServerStream) *supervisedStream {
	s := &supervisedStream{ServerStream: stream, cut: make(chan struct{})}
	s.ctx = context.WithValue(stream.Context(), supervisedKey{}, s)
	return s
}

func (s *supervisedStream) Context() context.Context { return s.ctx }

// end cuts the stream for a reason, and says whether it is the first to do so.
// From here on nothing is handed on or accepted, whether or not the goroutines
// concerned know it yet. The first reason counts.
func (s *supervisedStream) end(r *Refusal) bool {
	s.cutFor.CompareAndSwap(nil, r)
	if s.state.Or(leaving|over)&over != 0 {
		return false
	}
	close(s.cut)
	return true
}

// leave ends the stream once the handler has dealt with what it has received: at
// once where it waits for more and holds nothing, otherwise when it comes to that.
func (s *supervisedStream) leave(r *Refusal) {
	s.partFor.CompareAndSwap(nil, r)
	s.endIdle(s.state.Or(leaving) | leaving)
}

// endIdle cuts a stream in that state if it is leaving and owes nothing.
func (s *supervisedStream) endIdle(state uint64) {
	if state&leaving != 0 && state&receiving != 0 && state < held {
		s.end(s.partFor.Load())
	}
}

// ended returns why the stream has been cut, or nil.
func (s *supervisedStream) ended() *Refusal { return s.refusalIf(over) }

// refusalIf returns the refusal if one of the flags is set.
func (s *supervisedStream) refusalIf(flags uint64) *Refusal {
	if s.state.Load()&flags == 0 {
		return nil
	}
	return s.reason()
}

// reason is why a stream ends that is leaving or has been cut.
func (s *supervisedStream) reason() *Refusal {
	if refusal := s.cutFor.Load(); refusal != nil {
		return refusal
	}
	return s.partFor.Load()
}

// SendMsg reports a message that was under way when the stream was cut as not
// sent: whether it reached the transport is not known.
func (s *supervisedStream) SendMsg(m any) error {
	if refusal := s.ended(); refusal != nil {
		return refusal
	}
	err := s.ServerStream.SendMsg(m)
	if refusal := s.ended(); refusal != nil {
		return refusal
	}
	return err
}

// SendHeader hands on nothing after the cut, as SendMsg does.
func (s *supervisedStream) SendHeader(md metadata.MD) error {
	if refusal := s.ended(); refusal != nil {
		return refusal
	}
	return s.ServerStream.SendHeader(md)
}

// RecvMsg does not hand on a message that arrives with the end: it has not been
// accepted, and will not be acknowledged.
func (s *supervisedStream) RecvMsg(m any) error {
	if s.state.Or(receiving)&leaving != 0 {
		return s.tell()
	}
	err := s.ServerStream.RecvMsg(m)
	if s.state.And(^receiving)&leaving != 0 {
		return s.tell()
	}
	return err
}

// tell lets the handler know that the stream ends. It may send what it still
// has, if the stream has not been cut, and is to return.
func (s *supervisedStream) tell() error {
	s.state.Or(told)
	s.state.And(^receiving)
	return s.reason()
}

// hold notes that a message has been accepted and not been dealt with.
func (s *supervisedStream) hold() (release func()) {
	s.state.Add(held)
	var released atomic.Bool
	return func() {
		if released.CompareAndSwap(false, true) {
			s.endIdle(s.state.Add(^(held - 1)))
		}
	}
}
