package server

import (
	"context"
	"sync"
	"time"
)

// A stall finds out that the client of a stream takes nothing of a message that is
// being sent to it. One that takes it slowly may: a large message on a slow line
// takes its time.
type stall struct {
	call  *callStream // nil: what it takes is not known
	after time.Duration
	stuck func() // called once nothing has been taken for that long
	timer *time.Timer

	mu      sync.Mutex
	sending bool
	seen    uint64    // how much had been taken at the last look, or when the sending began
	since   time.Time // when that was
}

// newStall watches the stream of ctx until stop is called.
func newStall(ctx context.Context, after time.Duration, stuck func()) *stall {
	s := &stall{after: after, stuck: stuck}
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
	s.sending = true
	s.note()
}

// note has the next look taken in the time that the client has from now on. With mu
// held.
func (s *stall) note() {
	s.seen, s.since = s.taken(), time.Now()
	s.timer.Reset(s.after)
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
	s.mu.Lock()
	due := s.sending && time.Since(s.since) >= s.after
	stuck := due && s.taken() == s.seen
	if due && !stuck {
		s.note()
	}
	s.mu.Unlock()
	if stuck {
		s.stuck()
	}
}

func (s *stall) taken() uint64 {
	if s.call == nil {
		return 0
	}
	return s.call.frames.Load()
}
