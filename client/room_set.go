package client

import "sync"

// A roomSet waits for what runs the rooms of a Conn.
type roomSet struct {
	mu     sync.Mutex
	closed bool
	runs   sync.WaitGroup
}

// begin runs f, unless the set is closed.
func (s *roomSet) begin(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.runs.Go(f)
	return true
}

// close lets no other begin. The rooms end with the mover's context.
func (s *roomSet) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
}

func (s *roomSet) wait() { s.runs.Wait() }
