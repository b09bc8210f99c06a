package server

import (
	"net"
	"sync"
	"time"
)

const (
	// excessLife is how long a connection beyond its identity's limit lives:
	// long enough for its streams to be refused in words.
	excessLife = 5 * time.Second
	// crumb is a DATA frame shorter than the five bytes before every message
	// (gRPC over HTTP/2, Length-Prefixed-Message). A client has reason to send one
	// now and then, where flow control cuts a message; one that sends many makes
	// each byte cost the server a hundred.
	crumb     = 5
	maxCrumbs = 1000
)

// A connection is a secured connection that watches its own frames. grpc-go
// counts a stream as over when its status has been queued; here it is over when
// its end has been written, so that a client that does not read is seen. Its
// remote address leads back to it, so that a step can find the connection of a
// call.
type connection struct {
	net.Conn
	name     string // the identity that it counts under
	excess   bool   // beyond that identity's limit
	once     sync.Once
	released func()

	reads  walker // of the goroutine that reads
	crumbs int    // likewise
	writes walker // of the goroutine that writes

	mu      sync.Mutex
	open    map[uint32]struct{} // streams whose end has been neither written nor read
	serving int                 // of them, those that a handler works on
	owing   time.Time           // since when fewer were served than open, without progress; zero: not
}

func newConnection(secured net.Conn, name string) *connection {
	return &connection{Conn: secured, name: name, reads: walker{skip: prefaceLength}, open: make(map[uint32]struct{})}
}

// Read closes the connection of a client that crumbles its messages.
func (c *connection) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.reads.walk(b[:n], c.received)
	if c.crumbs > maxCrumbs {
		_ = c.Close()
	}
	return n, err
}

func (c *connection) received(h frameHeader) {
	switch {
	case h.kind == frameData:
		if h.length < crumb && h.flags&flagEndStream == 0 {
			c.crumbs++
		}
	case h.kind == frameReset:
		c.over(h.stream)
	case h.kind == frameHeaders:
		c.mu.Lock()
		defer c.mu.Unlock()
		c.open[h.stream] = struct{}{}
		c.weigh()
	}
}

func (c *connection) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.writes.walk(b[:n], c.sent)
	return n, err
}

func (c *connection) sent(h frameHeader) {
	if h.endsStream() {
		c.over(h.stream)
	}
}

// over notes that the end of a stream has passed.
func (c *connection) over(stream uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, stream)
	c.owing = time.Time{} // progress
	c.weigh()
}

// serve notes that a call has begun (1) or is done with (-1) on our side.
func (c *connection) serve(change int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.serving += change
	c.weigh()
}

// weigh keeps owing; the caller holds mu.
func (c *connection) weigh() {
	switch {
	case len(c.open) <= c.serving:
		c.owing = time.Time{}
	case c.owing.IsZero():
		c.owing = time.Now()
	}
}

// stuck says whether at now the client has left the end of a stream untaken for
// longer than it may.
func (c *connection) stuck(now time.Time, stall time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.owing.IsZero() && now.Sub(c.owing) > stall
}

func (c *connection) Close() error {
	c.once.Do(c.released)
	return c.Conn.Close()
}

func (c *connection) RemoteAddr() net.Addr { return peerAddr{c.Conn.RemoteAddr(), c} }

type peerAddr struct {
	net.Addr
	connection *connection
}
