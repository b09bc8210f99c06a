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
	seen    uint64 // how much had been taken at the last look
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
	s.sending, s.seen = true, s.taken()
	s.timer.Reset(s.after)
}

func (s *stall) sent() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sending = false
	s.timer.Stop()
}

func (s *stall) look() {
	s.mu.Lock()
	taken := s.taken()
	stuck := s.sending && taken == s.seen
	if s.sending && !stuck {
		s.seen = taken
		s.timer.Reset(s.after)
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
