package server

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// excessLife is how long a connection beyond its identity's limit lives:
	// long enough for its streams to be refused in words.
	excessLife = 5 * time.Second
	// crumb is a DATA frame shorter than the five bytes before every message
	// (gRPC over HTTP/2, Length-Prefixed-Message). A client has reason to send one
	// where flow control or its frames cut a message; one that sends little else
	// makes each byte cost the server a hundred. So each KiB pays for one crumb.
	crumb     = 5
	crumbPays = 1 << 10
	maxCrumbs = 1000

	// looksPerStall is how often a connection is looked at in the time that a
	// client may leave the end of a stream untaken, and settle how many looks more
	// it must last, because a stream that was idle may be about to end.
	looksPerStall = 10
	settle        = 2
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

	closing func(why string) // called once the server closes it for what it does

	reads  walker // of the goroutine that reads
	crumbs int    // likewise: those that are not paid for
	writes walker // of the goroutine that writes
	last   uint32 // likewise: the stream last written to, at lastAt
	lastAt int64

	tick atomic.Int64 // counts the looks that the gate takes

	mu      sync.Mutex
	open    map[uint32]int64 // streams whose end has been neither written nor read -> tick of the last write to it
	serving int              // of them, those that a handler works on
	owing   int64            // the tick since which some have had nothing written and no handler; 0: none
}

func newConnection(secured net.Conn, name string) *connection {
	return &connection{Conn: secured, name: name, reads: walker{skip: prefaceLength}, open: make(map[uint32]int64)}
}

// Read closes the connection of a client that crumbles its messages.
func (c *connection) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.reads.walk(b[:n], c.received)
	if c.crumbs > maxCrumbs {
		c.crumbs = 0
		c.closing("the client cuts its messages into crumbs")
		_ = c.Close()
	}
	return n, err
}

func (c *connection) received(h frameHeader) {
	switch h.kind {
	case frameData:
		if h.length < crumb && h.flags&flagEndStream == 0 {
			c.crumbs++
		} else {
			c.crumbs = max(0, c.crumbs-h.length/crumbPays)
		}
	case frameReset:
		c.over(h.stream)
	case frameHeaders:
		c.mu.Lock()
		defer c.mu.Unlock()
		c.open[h.stream] = c.tick.Load()
	}
}

func (c *connection) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.writes.walk(b[:n], c.sent)
	return n, err
}

func (c *connection) sent(h frameHeader) {
	switch {
	case h.endsStream():
		c.over(h.stream)
	case h.kind == frameData:
		c.wrote(h.stream)
	}
}

// wrote notes that a client takes what is for it on a stream.
func (c *connection) wrote(stream uint32) {
	now := c.tick.Load()
	if stream == c.last && now == c.lastAt {
		return
	}
	c.last, c.lastAt = stream, now
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.open[stream]; ok {
		c.open[stream] = now
	}
}

// over notes that the end of a stream has passed.
func (c *connection) over(stream uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, stream)
}

// serve notes that a call has begun (1) or is done with (-1) on our side.
func (c *connection) serve(change int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.serving += change
}

// look is taken every so often, and says whether for patience looks the client
// has taken nothing of a stream that is over on our side. Which streams those
// are is not known here, but that there are some: where more streams have had
// nothing written than handlers are at work, some have no handler. A stream that
// is read slowly has something written, so its client has all the time it needs.
func (c *connection) look(patience int64) (stuck bool) {
	now := c.tick.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	quiet := 0
	for _, written := range c.open {
		if now-written > patience {
			quiet++
		}
	}
	switch {
	case quiet <= c.serving:
		c.owing = 0
	case c.owing == 0:
		c.owing = now
	}
	return c.owing != 0 && now-c.owing >= settle
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
