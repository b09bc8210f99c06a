package client

import (
	"context"
	"errors"
	"sync"
	"time"
)

// What a Room holds and how long it waits.
const (
	backlogEvents = 256     // received and not taken by the program
	backlogBytes  = 1 << 20 // likewise
	window        = 64      // messages that wait for their acknowledgement

	firstReopening   = 200 * time.Millisecond // at most, before the first attempt; doubled with each, up to
	longestReopening = 5 * time.Second
	longestOpening   = 15 * time.Second // one attempt
	readersGrace     = time.Second      // for a program that does not read while acknowledgements are due
)

// A Room is a place in a room of the server, which outlives the streams that it
// takes: where a connection is lost, the server restarts or drains, the
// certificate changes, or this side was too slow, the Room is opened again from
// where it was. It ends with Close, or with an [*Error] that no other attempt can
// change: the user is refused or expelled, or what was missed is no longer kept.
//
// Its methods may be called concurrently.
type Room struct {
	// Set at construction.
	conn   *Conn
	name   string
	user   string
	ctx    context.Context // ends with Close, and with the Conn
	cancel context.CancelCauseFunc
	slots  chan struct{} // one is taken by each of pending
	first  time.Duration // firstReopening
	grace  time.Duration // readersGrace

	wake    chan struct{} // for the sender: there is something to send
	posted  chan struct{} // for the receiver: an acknowledgement is due
	arrived chan struct{} // for the program: there is something in the backlog
	taken   chan struct{} // for the receiver: there is room in the backlog
	ready   chan struct{} // closed once the room has begun
	over    chan struct{} // closed once ended is set

	// Of the goroutine that receives.
	tries uint      // openings since a stream was of use
	lives time.Time // since when the stream is live; zero: it is not

	mu        sync.Mutex
	stream    *Stream // nil: reopening
	successor *Stream // takes over from stream, over another connection; nil: none
	spans     *spans  // of the latest stream; nil: no tracing
	ended     error   // how the room ended, for good

	placed bool     // seen and kept are positions
	seen   uint64   // the newest message that stream has brought
	kept   uint64   // the newest message that the backlog has been given
	early  []uint64 // messages after kept that the backlog has been given
	live   bool     // stream has brought all that was missed
	begun  bool     // ready is closed

	backlog backlog
	ahead   bool // what comes is dropped: the program reads it later, from kept on
	rewind  bool // the program has read all up to kept: reopen from there

	pending []*Posted // not acknowledged, in their order
	sent    int       // how many of them stream has been given
	typing  bool      // to be told
}

// Join enters a room and returns once the server has admitted this side to it and
// the place where it begins is certain: what is said from then on, and with a
// [From] what was said since, is received. It does not wait for a server that is
// away, no more than Open does.
//
// The error is an *Error, or that of the token source, wrapped; where it says
// auth.CursorGone, its Oldest is from where the room can be read whole. The
// context bounds the joining alone; Close leaves the room.
func (c *Conn) Join(ctx context.Context, room string, options ...JoinOption) (*Room, error) {
	if room == "" {
		return nil, errNoRoom
	}
	r := &Room{
		conn: c, name: room, slots: make(chan struct{}, window), first: firstReopening, grace: readersGrace,
		wake: make(chan struct{}, 1), posted: make(chan struct{}, 1), arrived: make(chan struct{}, 1), taken: make(chan struct{}, 1),
		ready: make(chan struct{}), over: make(chan struct{}),
	}
	for _, option := range options {
		option.join(r)
	}
	r.ctx, r.cancel = context.WithCancelCause(c.mover.ctx)
	md, _ := r.whence()
	first, err := c.open(ctx, md)
	if err != nil {
		r.cancel(err)
		return nil, err
	}
	r.user = first.User()
	if !c.crew.begin(func() { r.run(first) }) {
		r.cancel(ErrClosed)
		_ = first.Close()
		return nil, r.closedConn()
	}
	if err := r.begin(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

var errNoRoom = errors.New("client: no room: name one")

// begin waits until the place where the room begins is certain.
func (r *Room) begin(ctx context.Context) error {
	select {
	case <-r.ready:
		return nil
	case <-r.over:
		return r.ended
	case <-ctx.Done():
		_ = r.Close()
		return outOfTime(r.conn.server, ctx, nil)
	}
}

// Name is what the room was joined as.
func (r *Room) Name() string { return r.name }

// User is the name under which the server admitted this side.
func (r *Room) User() string { return r.user }

// Expires is when the stream of the moment ends, to the second, unless the token
// is refreshed; zero where the server did not say or there is no stream.
func (r *Room) Expires() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stream == nil {
		return time.Time{}
	}
	return r.stream.Expires()
}

// Close leaves the room and waits for what belongs to it. What is not acknowledged
// may or may not have been stored. It is always safe to call, and always returns
// nil.
func (r *Room) Close() error {
	r.cancel(ErrClosed)
	<-r.over
	return nil
}

// signal leaves a word for whoever waits, or will.
func signal(to chan<- struct{}) {
	select {
	case to <- struct{}{}:
	default:
	}
}
