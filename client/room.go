package client

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"securechat/auth"
	chatpb "securechat/proto/chat"
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
	tries uint // openings since the room was last live

	mu        sync.Mutex
	stream    *Stream // nil: reopening
	successor *Stream // takes over from stream, over another connection; nil: none
	spans     *spans  // of the latest stream; nil: no tracing
	ended     error   // how the room ended, for good

	placed bool   // seen and kept are positions
	seen   uint64 // the newest message that stream has brought
	kept   uint64 // the newest message that the backlog has been given
	live   bool   // stream has brought all that was missed
	begun  bool   // ready is closed

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
	first, err := c.open(ctx, r.whence())
	if err != nil {
		r.cancel(err)
		return nil, err
	}
	r.user = first.User()
	if !c.rooms.begin(func() { r.run(first) }) {
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

// run has one stream after the other until the room ends.
func (r *Room) run(stream *Stream) {
	r.conn.mover.add(r)
	for {
		end := r.attend(stream)
		var err error
		if stream, err = r.reopen(end, true); err != nil {
			r.end(err)
			return
		}
	}
}

// attend takes what the stream brings and returns how it ended.
func (r *Room) attend(stream *Stream) error {
	if !r.attach(stream) {
		_ = stream.Close() // Receive says so
	}
	var sender sync.WaitGroup
	sender.Go(func() { r.transmit(stream) })
	defer sender.Wait()
	defer r.detach(stream)
	for {
		m, err := stream.Receive(r.ctx)
		if err != nil {
			return err
		}
		if event := r.take(m); event != nil {
			r.offer(event)
		}
	}
}

// attach begins with a stream, and returns false where it begins at the wrong
// place: the program has caught up while it was opened.
func (r *Room) attach(stream *Stream) bool {
	r.mu.Lock()
	r.stream, r.spans, r.live, r.sent, r.typing = stream, stream.sender.Load().spans, false, 0, false
	fits := !r.rewind
	dropped := r.dropAbandoned()
	r.mu.Unlock()
	r.free(dropped)
	r.conn.mover.nudge() // the line may be an old one
	r.signal(r.wake)
	return fits
}

func (r *Room) detach(stream *Stream) {
	r.mu.Lock()
	r.stream = nil
	r.mu.Unlock()
	_ = stream.Close()
}

// reopen opens a stream in the place of one that has ended, or has not come about,
// because of end.
func (r *Room) reopen(end error, admitted bool) (*Stream, error) {
	for {
		successor, rewind := r.next()
		switch {
		case r.ctx.Err() != nil:
			if successor != nil {
				_ = successor.Close()
			}
			return nil, r.closed()
		case successor != nil:
			return successor, nil
		case rewind:
			end = nil
		case r.final(end, admitted):
			return nil, end
		default:
			if err := r.pause(end); err != nil {
				return nil, err
			}
		}
		ctx, cancel := context.WithTimeout(r.ctx, longestOpening)
		stream, err := r.conn.open(ctx, r.whence())
		cancel()
		if err == nil && stream.User() != r.user {
			_ = stream.Close()
			return nil, ErrOtherUser
		}
		if err == nil {
			r.offer(Reconnected{})
			return stream, nil
		}
		end, admitted = err, false
	}
}

// next returns the stream to go on with, if there is one already, and whether the
// room is to go back to what the program has read.
func (r *Room) next() (successor *Stream, rewind bool) {
	r.mu.Lock()
	successor, r.successor = r.successor, nil
	if rewind = r.rewind; rewind {
		r.rewind, r.ahead, r.seen = false, false, r.kept
	}
	r.mu.Unlock()
	if rewind && successor != nil { // it begins further on
		_ = successor.Close()
		successor = nil
	}
	return successor, rewind
}

// whence is the metadata of a stream that goes on where the one before ended.
func (r *Room) whence() metadata.MD {
	r.mu.Lock()
	defer r.mu.Unlock()
	md := metadata.Pairs(chatpb.MetadataRoom, chatpb.EscapeUser(r.name))
	if r.placed {
		md.Set(chatpb.MetadataAfter, strconv.FormatUint(r.seen, 10))
	}
	return md
}

// pause waits before the next attempt, and tells the program.
func (r *Room) pause(end error) error {
	longest := min(r.first<<min(r.tries, 10), longestReopening)
	r.tries++
	wait := time.Duration(rand.Float64() * float64(longest)) // so that many do not come at once
	var e *Error
	if errors.As(end, &e) {
		wait += e.RetryAfter
	}
	r.note(Reconnecting{Err: orLost(r.conn.server, end), Wait: wait})
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-r.ctx.Done():
		return r.closed()
	}
}

// orLost gives the end of a stream in good order, for which this side did not ask,
// words of its own.
func orLost(server string, end error) error {
	if end == io.EOF {
		return &Error{Server: server, Code: codes.Unavailable, Text: "the server has ended the stream"}
	}
	return end
}

// final says whether no other stream can help, as far as this side can know. A
// stream that was admitted and whose authority has run out may have a successor:
// the token source and the certificates may have something newer. What another
// node may see in another light, or will in a moment, is tried again as well.
func (r *Room) final(end error, admitted bool) bool {
	var e *Error
	if !errors.As(end, &e) || e.Retryable() {
		return false
	}
	switch e.Reason {
	case auth.TokenExpired, auth.TokenKeyRetired, auth.CertificateExpired, auth.SessionExpired:
		return !admitted
	case auth.TokenKeyUnknown, auth.TokenNotYetValid, auth.TooManyStreams, auth.TooManyConnections:
		return false
	}
	return true
}

// closed is how a room ends that this side has closed.
func (r *Room) closed() error {
	if errors.Is(context.Cause(r.ctx), ErrClosed) {
		return ErrClosed
	}
	return r.closedConn()
}

func (r *Room) closedConn() error {
	return &Error{Server: r.conn.server, Code: codes.Canceled, Text: "the connection was closed on this side", final: true}
}

// end is the last that happens.
func (r *Room) end(err error) {
	r.conn.mover.remove(r)
	r.mu.Lock()
	r.ended = err
	if err == ErrClosed {
		r.backlog = backlog{}
	}
	pending, successor := r.pending, r.successor
	r.pending, r.successor = nil, nil
	r.mu.Unlock()
	r.cancel(err)
	if successor != nil {
		_ = successor.Close()
	}
	close(r.over)
	for _, p := range pending {
		r.settle(p, Receipt{}, p.lost(err))
	}
	r.free(len(pending))
}

// lags and move make a Room a rider: it goes to the line of a new certificate by
// opening a stream there from where it is, and leaving the one that it has.
func (r *Room) lags(behind *line) (until time.Time, yes bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.placed || r.stream == nil || r.successor != nil {
		return time.Time{}, false
	}
	via := r.stream.sender.Load()
	return via.lease.until(), via.line != behind
}

func (r *Room) move(ctx context.Context, to *line, token string) (until time.Time, moved bool, err error) {
	md := r.whence()
	s := newStream(ctx, r.conn, md)
	first, err := r.conn.reach(ctx, s.ctx, to, md, token)
	if err != nil {
		s.end(err)
		if r.ctx.Err() != nil {
			err = nil
		}
		return time.Time{}, false, err
	}
	s.begin(first)
	if s.User() != r.user {
		_ = s.Close()
		return time.Time{}, false, ErrOtherUser
	}
	r.mu.Lock()
	before := r.stream
	fits := before != nil && r.ended == nil
	if fits {
		r.successor = s
	}
	r.mu.Unlock()
	if !fits { // it is being reopened, over the newest line that serves
		_ = s.Close()
		return time.Time{}, false, nil
	}
	_ = before.Close()
	return s.Expires(), true, nil
}

// signal leaves a word for whoever waits, or will.
func (r *Room) signal(to chan struct{}) {
	select {
	case to <- struct{}{}:
	default:
	}
}
