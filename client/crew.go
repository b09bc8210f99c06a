package client

import "sync"

// A crew are the goroutines of a Conn that run its rooms and read legs out. What
// ends them comes from elsewhere; the Conn waits for them here.
type crew struct {
	mu     sync.Mutex
	closed bool
	runs   sync.WaitGroup
}

// begin runs f, unless the crew is closed.
func (c *crew) begin(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.runs.Go(f)
	return true
}

// close lets no other begin. The rooms end with the mover's context, and legs with
// their lines.
func (c *crew) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
}

func (c *crew) wait() { c.runs.Wait() }
