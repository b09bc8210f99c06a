package server

import (
	"bytes"
	"maps"
	"net"
	"slices"
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

	// looksPerStall is how often a client is looked at in the time in which it must
	// have taken something of what is for it.
	looksPerStall = 10
)

// A connection is a secured connection that watches its own frames. grpc-go
// counts a stream as over when its status has been queued; here it is over when
// its end has been written, so that a client that does not read is seen. Its
// remote address leads back to it, so that a step can find the connection of a
// call.
type connection struct {
	net.Conn
	raw      net.Conn // what Conn secures
	name     string   // the identity that it counts under
	excess   bool     // beyond that identity's limit
	once     sync.Once
	released func()

	closing func(why string) // called once the server closes it for what it does

	reads  walker // of the goroutine that reads
	ahead  []byte // likewise: what has been read and not yet handed on
	latest uint32 // likewise: the stream whose header block was handed on last
	crumbs int    // likewise: those that are not paid for
	writes walker // of the goroutine that writes

	tick  atomic.Int64 // counts the looks that the gate takes
	owing atomic.Int32 // how many streams are ended, and how many watched; changed under mu

	mu      sync.Mutex
	closed  bool
	streams map[uint32]*callStream // those whose end has been neither written nor read
}

// A callStream is the HTTP/2 stream of one call.
type callStream struct {
	conn    *connection
	id      uint32
	orderly atomic.Bool   // it ends as it should: its client may take its time
	frames  atomic.Uint64 // of DATA that its client has let be written while it was watched

	// Guarded by conn.mu.
	ended   bool // on our side
	watched bool
	since   int64  // the tick from which its client's time counts, once it has ended
	taken   func() // called when its end has passed; nil: nobody waits for that
}

func newConnection(raw, secured net.Conn, name string) *connection {
	return &connection{
		Conn: secured, raw: raw, name: name,
		reads: walker{skip: prefaceLength}, streams: make(map[uint32]*callStream),
	}
}

// Read hands on nothing beyond the end of a header block: grpc-go reads on only
// when it is done with a block, so the stream of a call that it brings to the
// door is the latest. It closes the connection of a client that crumbles its
// messages.
func (c *connection) Read(b []byte) (n int, err error) {
	if len(c.ahead) > 0 {
		n = c.reads.walk(b[:copy(b, c.ahead)], c.received)
		if c.ahead = c.ahead[n:]; len(c.ahead) == 0 {
			c.ahead = nil // idle connections keep no buffer
		}
	} else {
		var got int
		got, err = c.Conn.Read(b)
		if n = c.reads.walk(b[:got], c.received); n < got {
			c.ahead, err = bytes.Clone(b[n:got]), nil // an error comes again with the next read
		}
	}
	if c.crumbs > maxCrumbs {
		c.crumbs = 0
		c.closing("the client cuts its messages into crumbs")
		c.abort()
	}
	return n, err
}

func (c *connection) received(h frameHeader) (pause bool) {
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
		c.latest = h.stream
	}
	return h.endsBlock()
}

func (c *connection) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.writes.walk(b[:n], c.sent)
	return n, err
}

func (c *connection) sent(h frameHeader) (pause bool) {
	switch {
	case h.endsStream():
		c.over(h.stream)
	case h.kind == frameData && h.length > 0 && c.owing.Load() > 0:
		c.wrote(h.stream)
	}
	return false
}

// begin takes up the call that is at the door. On the goroutine that reads.
func (c *connection) begin() *callStream {
	s := &callStream{conn: c, id: c.latest}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.streams[s.id] = s
	}
	return s
}

// end notes that the call is over on our side: from here on its client has the
// time of a stall to take what is left of it.
func (s *callStream) end() {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	if s.conn.streams[s.id] != s {
		return // its end has passed already
	}
	s.ended, s.since = true, s.conn.tick.Load()
	s.conn.owing.Add(1)
}

// watch has what the client takes of the call counted until unwatch.
func (s *callStream) watch() { s.setWatched(true, 1) }

func (s *callStream) unwatch() { s.setWatched(false, -1) }

func (s *callStream) setWatched(watched bool, more int32) {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	if s.conn.streams[s.id] == s && s.watched != watched {
		s.watched = watched
		s.conn.owing.Add(more)
	}
}

// wrote notes that a client takes what is for it on a stream. Of one that ends as
// it should it may take all, however slowly.
func (c *connection) wrote(id uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.streams[id]
	if !ok {
		return
	}
	s.frames.Add(1)
	if s.ended && s.orderly.Load() {
		s.since = c.tick.Load()
	}
}

// over notes that the end of a stream has passed.
func (c *connection) over(id uint32) {
	c.mu.Lock()
	s, ok := c.streams[id]
	if !ok {
		c.mu.Unlock()
		return
	}
	delete(c.streams, id)
	if s.ended {
		c.owing.Add(-1)
	}
	if s.watched {
		c.owing.Add(-1)
	}
	taken := s.taken
	c.mu.Unlock()
	if taken != nil {
		taken()
	}
}

// onceTaken has f called once the end of the call has been written or its client has
// given it up, or now if that has been. It is called once.
func (s *callStream) onceTaken(f func()) {
	s.conn.mu.Lock()
	waits := s.conn.streams[s.id] == s
	if waits {
		s.taken = f
	}
	s.conn.mu.Unlock()
	if !waits {
		f()
	}
}

// giveUp takes all streams for over: nothing is written any more.
func (c *connection) giveUp() {
	c.mu.Lock()
	c.closed = true
	streams := slices.Collect(maps.Keys(c.streams))
	c.mu.Unlock()
	for _, id := range streams {
		c.over(id)
	}
}

// look is taken every so often, and says whether the client has left the end of a
// stream untaken for more than patience looks.
func (c *connection) look(patience int64) (stuck bool) {
	now := c.tick.Add(1)
	if c.owing.Load() == 0 {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.streams {
		if s.ended && now-s.since > patience {
			return true
		}
	}
	return false
}

// abort closes the connection without the alert that ends TLS: to write that can
// take seconds where a client does not read.
func (c *connection) abort() {
	_ = c.raw.Close()
	_ = c.Close()
}

func (c *connection) Close() error {
	c.once.Do(func() { c.released(); c.giveUp() })
	return c.Conn.Close()
}

func (c *connection) RemoteAddr() net.Addr { return peerAddr{c.Conn.RemoteAddr(), c} }

type peerAddr struct {
	net.Addr
	connection *connection
}
