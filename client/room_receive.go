package client

import (
	"context"
	"iter"
	"slices"
	"strings"
	"time"

	chatpb "securechat/proto/chat"
)

// A backlog is what has been received and not taken by the program.
type backlog struct {
	events []RoomEvent
	bytes  int
}

// fits says whether there is room for the event; always for one.
func (b *backlog) fits(e RoomEvent) bool {
	return len(b.events) == 0 || len(b.events) < backlogEvents && b.bytes+e.weight() <= backlogBytes
}

func (b *backlog) add(e RoomEvent) {
	b.events = append(b.events, e)
	b.bytes += e.weight()
}

// take returns the oldest event; nil where there is none.
func (b *backlog) take() RoomEvent {
	if len(b.events) == 0 {
		return nil
	}
	e := b.events[0]
	b.events[0] = nil
	b.events = b.events[1:]
	b.bytes -= e.weight()
	return e
}

// Next returns the next event of the room, and once the room has ended and all
// that came before has been returned, how: an *Error, or ErrClosed after Close. An
// end of the context costs nothing.
//
// The messages among the events are all of the room's from where Join began, in
// the room's order, each once, those of this side's user included, whatever
// happens to the streams below. What this side has sent comes once it is stored,
// at its place.
//
// The Room holds at most 256 events or a MiB for the program. Beyond that the
// server waits, and where the program also sends and does not read for a second,
// so that acknowledgements would wait too, what comes is dropped, and read again
// from the server once the program has read what was held; if the room has ended
// by then, it is read from the last message on that has been returned. A program
// that sends and never reads needs do nothing.
//
// One that neither sends nor keeps up may have the server end the stream and, some
// seconds later, close the connection that does not take the end of it. The Room
// comes back and misses nothing, but a [Stream] on the same Conn ends: let such a
// room have a Conn of its own.
func (r *Room) Next(ctx context.Context) (RoomEvent, error) {
	for {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if e := r.poll(); e != nil {
			return e, nil
		}
		select {
		case <-r.arrived:
		case <-ctx.Done():
		case <-r.over:
			if e := r.poll(); e != nil {
				return e, nil
			}
			return nil, r.ended
		}
	}
}

// poll takes an event from the backlog; nil where there is none.
func (r *Room) poll() RoomEvent {
	r.mu.Lock()
	e := r.backlog.take()
	left := len(r.backlog.events)
	var behind *Stream
	if left == 0 && r.ahead && r.ended == nil && !r.rewind {
		r.rewind = true
		behind = r.stream
	}
	r.mu.Unlock()
	if behind != nil {
		_ = behind.Close()
	}
	if left > 0 {
		signal(r.arrived) // for another reader
	}
	if e != nil {
		signal(r.taken)
	}
	return e
}

// Events returns what Next returns, until the room ends. The error comes last.
// Breaking off leaves the room as it is.
func (r *Room) Events(ctx context.Context) iter.Seq2[RoomEvent, error] {
	return func(yield func(RoomEvent, error) bool) {
		for {
			e, err := r.Next(ctx)
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// Receive returns the next message, and what else happens to nobody.
func (r *Room) Receive(ctx context.Context) (Message, error) {
	for {
		e, err := r.Next(ctx)
		if err != nil {
			return Message{}, err
		}
		if m, ok := e.(Message); ok {
			return m, nil
		}
	}
}

// Messages returns what Receive returns, until the room ends. The error comes
// last. Breaking off leaves the room as it is.
func (r *Room) Messages(ctx context.Context) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		for {
			m, err := r.Receive(ctx)
			if !yield(m, err) || err != nil {
				return
			}
		}
	}
}

// take makes an event of what the stream has brought; nil where there is nothing
// to tell.
func (r *Room) take(m Message) RoomEvent {
	switch m.Kind {
	case KindMessage:
		return r.said(m)
	case KindAcknowledgement:
		return r.stored(m)
	case KindLive:
		return r.isLive(m.Sequence)
	case KindJoined:
		return Joined{User: m.User, Time: m.Time}
	case KindLeft:
		return Left{User: m.User, Time: m.Time}
	case KindTyping:
		return Typing{User: m.User, Time: m.Time}
	default: // of a newer server
		return nil
	}
}

// said takes a message that came as such: another's, or one of this user's that
// another stream has sent. Where that was one of this room's before, it is its
// acknowledgement as well.
func (r *Room) said(m Message) RoomEvent {
	m.Own = m.User == r.user
	r.mu.Lock()
	fresh := r.reach(m.Sequence)
	var p *Posted
	if m.Own && m.ID != "" {
		p = r.acknowledge(m.ID)
	}
	r.mu.Unlock()
	r.confirm(p, m)
	if fresh || p != nil {
		r.tries = 0
	}
	if !fresh {
		return nil
	}
	return m
}

// stored takes an acknowledgement. It stands at the message's place in the room's
// order, unless the message was stored before the stream began or came as such.
//
// Where the message had gone out over an earlier stream too, and that stream's
// was stored, a server might acknowledge it before this stream has got to its
// place. So such an acknowledgement moves nothing on: what follows is taken
// whether it stands before that place or after it.
func (r *Room) stored(m Message) RoomEvent {
	m.Kind, m.User, m.Own = KindMessage, r.user, true
	m.Text = strings.TrimPrefix(m.Text, chatpb.Acknowledged)
	r.mu.Lock()
	p := r.acknowledge(m.ID)
	fresh := m.Sequence > r.seen && !slices.Contains(r.early, m.Sequence)
	if p == nil || !p.resent {
		fresh = r.reach(m.Sequence)
	}
	r.mu.Unlock()
	r.confirm(p, m)
	if fresh || p != nil {
		r.tries = 0
	}
	if !fresh {
		return nil
	}
	return m
}

func (r *Room) confirm(p *Posted, m Message) {
	if p == nil {
		return
	}
	r.free(1)
	r.settle(p, Receipt{Sequence: m.Sequence, Time: m.Time, ID: p.id, TraceID: traceOf(p.traceparent)}, nil)
}

// reach moves on to the sequence, and returns false where the program has been
// told, or would have been. It needs mu.
func (r *Room) reach(sequence uint64) bool {
	if r.placed && sequence <= r.seen {
		return false
	}
	r.placed, r.seen = true, sequence
	known := slices.Contains(r.early, sequence)
	if known && !r.ahead { // what is dropped comes again, and what is early with it
		r.reached(sequence)
	}
	return !known
}

// isLive takes the end of what was missed. In a room that has moved that may be a
// place which the program is past: the stream before went on until this one had begun.
func (r *Room) isLive(sequence uint64) RoomEvent {
	r.lives = time.Now()
	r.mu.Lock()
	r.reach(sequence)
	r.live = true
	live := Live{Sequence: r.seen}
	r.mu.Unlock()
	signal(r.wake)
	r.conn.mover.nudge() // a room that has no place does not move
	return live
}

// offer gives the program an event, and waits while there is no room for it. Where
// acknowledgements would have to wait as well, and the program has read nothing
// for a while, the room runs ahead of it.
func (r *Room) offer(e RoomEvent) {
	if r.keep(e) {
		return
	}
	idle := time.Now()
	patience := time.NewTimer(r.grace)
	defer patience.Stop()
	for !r.keep(e) {
		select {
		case <-r.taken:
			idle = time.Now()
			patience.Reset(r.grace)
		case <-r.posted:
		case <-patience.C:
		case <-r.ctx.Done():
			return
		}
		if time.Since(idle) >= r.grace {
			r.runAhead(e)
		}
	}
}

// runAhead drops what comes from now on, if acknowledgements wait and there is no
// room for the event still: who reads the last of a backlog has the room go back.
func (r *Room) runAhead(e RoomEvent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ahead = len(r.pending) > 0 && !r.backlog.fits(e)
}

// keep puts the event into the backlog, or drops it where the room runs ahead of
// the program, and returns false where there is no room for it now.
func (r *Room) keep(e RoomEvent) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ahead {
		return true
	}
	if !r.backlog.fits(e) {
		return false
	}
	r.backlog.add(e)
	switch e := e.(type) {
	case Message:
		if e.Sequence > r.seen {
			r.early = append(r.early, e.Sequence)
			break
		}
		r.reached(e.Sequence)
	case Live:
		r.reached(e.Sequence)
	}
	signal(r.arrived)
	return true
}

// reached moves on to where the program will have been. It needs mu.
func (r *Room) reached(sequence uint64) {
	r.kept = max(r.kept, sequence)
	r.early = slices.DeleteFunc(r.early, func(early uint64) bool { return early <= r.kept })
	if !r.begun {
		r.begun = true
		close(r.ready)
	}
}

// note gives the program word of an attempt, in the place of that of the one
// before. It waits for nobody: where the program is behind, it hears of the last.
func (r *Room) note(e Reconnecting) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if last := len(r.backlog.events) - 1; last >= 0 {
		if _, again := r.backlog.events[last].(Reconnecting); again {
			r.backlog.events[last] = e
			return
		}
	}
	if !r.ahead && r.backlog.fits(e) {
		r.backlog.add(e)
		signal(r.arrived)
	}
}
