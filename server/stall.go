package server

import (
	"context"
	"sync"
	"time"
)

// A stall finds out that the client of a stream takes nothing of a message that is
// being sent to it. One that takes it slowly may: a large message on a slow line
// takes its time.
//
// Time is counted in looks: while the process is held up, stopped for example, no
// looks are taken either, and none of that time is the client's.
type stall struct {
	call  *callStream // nil: what it takes is not known
	every time.Duration
	stuck func() // called once nothing has been taken for looksPerStall looks
	timer *time.Timer

	mu      sync.Mutex
	sending bool
	seen    uint64    // how much had been taken at the last look, or when the sending began
	since   time.Time // when that was
	idle    int       // how many looks have found no more than that
}

// newStall watches the stream of ctx until stop is called.
func newStall(ctx context.Context, after time.Duration, stuck func()) *stall {
	s := &stall{every: after / looksPerStall, stuck: stuck}
	if s.call, _ = ctx.Value(streamKey{}).(*callStream); s.call != nil {
		s.call.watch()
	}
	s.timer = time.AfterFunc(after, s.look)
	s.timer.Stop()
	return s
}

// stop may be called again.
func (s *stall) stop() {
	s.sent()
	if s.call != nil {
		s.call.unwatch()
	}
}

// sends notes that a message is being sent from now on, and sent that none is.
func (s *stall) sends() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sending, s.seen, s.idle = true, s.taken(), 0
	s.again()
}

// again has the next look taken. With mu held.
func (s *stall) again() {
	s.since = time.Now()
	s.timer.Reset(s.every)
}

func (s *stall) sent() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sending = false
	s.timer.Stop()
}

// look may come late, when the message that it was for has been sent and another is
// under way, whose own look is to come.
func (s *stall) look() {
	if s.looked() {
		s.stuck()
	}
}

func (s *stall) looked() (stuck bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.sending || time.Since(s.since) < s.every {
		return false
	}
	if taken := s.taken(); taken != s.seen {
		s.seen, s.idle = taken, 0
	} else if s.idle++; s.idle == looksPerStall {
		return true
	}
	s.again()
	return false
}

func (s *stall) taken() uint64 {
	if s.call == nil {
		return 0
	}
	return s.call.frames.Load()
}
