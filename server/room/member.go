package room

import (
	"context"
	"sync"
	"unicode/utf8"

	chatpb "securechat/proto/chat"
)

// A Member is one session of a user in a room. It has no queue: it reads the
// events that the room keeps once for all, each member at a position of its own.
type Member struct {
	room *room
	user string
	done chan struct{} // closed when the membership has ended
	left sync.Once

	// Set by join: the room's begun, tail and floor then. LIVE comes when last has
	// reached target; up to floor the log has nothing beyond it of the room.
	begun, target, floor uint64

	// Of Next's goroutine: how many entries to read next of a replay.
	stride int

	// Guarded by the room's mu.
	ended  error
	broken bool   // a post could not be stored, whether or not that ended it
	last   uint64 // the sequence of the last message had
	live   bool   // LIVE has been given
	since  uint64 // events at positions before it are older than the membership
	// reading says that the next event is the ring's at position; without it,
	// messages after last are read from the log.
	reading  bool
	position uint64
	onCut    func() // called if it is cut; may be nil
	// lapped counts the keeper's beats, from 1 on, since the ring lapped the live
	// member; 0 when it has not, or the member has caught up since.
	lapped int
	place  int // in the room's members
	// owed has, in the order of the posts, those that are stored and whose
	// acknowledgements have not been given; unacknowledged and unacknowledgedBytes
	// count those that are not stored, too.
	owed                                []owed
	unacknowledged, unacknowledgedBytes int
	credit                              chan struct{} // of one place; nil until somebody waits
}

// owed is the acknowledgement of a post.
type owed struct {
	sequence uint64
	weight   int
	// duplicate is the entry that was stored before; nil if the post's own is at
	// its place in the room's order.
	duplicate *Entry
}

func valid(s string) bool { return utf8.ValidString(s) }

// join makes a member. The caller holds the room.
func (r *room) join(ctx context.Context, user string, from Position) (*Member, error) {
	begun := r.beginning()
	if from.Replay {
		if err := r.reachable(ctx, from.After); err != nil {
			return nil, err
		}
	}
	m := &Member{room: r, user: user, stride: firstStride, done: make(chan struct{})}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.hub.open.Err() != nil {
		return nil, ErrClosed
	}
	if r.begun != begun { // what was reachable need not be any more
		return nil, errAnew
	}
	r.enter(user)
	m.begun = begun
	m.since, m.target, m.floor, m.last = r.ring.head, r.tail, r.floor, r.tail
	if from.Replay {
		m.last = from.After
	} else {
		m.follow(r.ring.head)
	}
	r.reached = max(r.reached, m.last, m.floor)
	m.place = len(r.members)
	r.members = append(r.members, m)
	r.hub.counts.members.Add(1)
	return m, nil
}

// follow has the member read the ring from a position on. With the room's mu.
func (m *Member) follow(position uint64) {
	m.caughtUp()
	m.reading, m.position = true, position
	m.room.slowest = min(m.room.slowest, position)
}

// lap has the member read from the log instead of the ring, for as long as Config.Lag
// if it was live. With the room's mu.
func (m *Member) lap() {
	m.reading = false
	if m.live && m.ended == nil {
		m.lapped = 1
		m.room.lagging++
	}
}

// finish ends the membership for a reason, unless it has ended. With the room's mu.
func (m *Member) finish(reason error) {
	if m.ended == nil {
		m.caughtUp()
		m.ended = reason
		close(m.done)
	}
}

// caughtUp notes that the member is not lapped any more. With the room's mu.
func (m *Member) caughtUp() {
	if m.lapped > 0 {
		m.lapped = 0
		m.room.lagging--
	}
}

// OnCut has f called when the member is cut for being slow, while its goroutine may
// be stuck in handing an event on; at once if it has been. f must not wait, nor use
// the member or its hub. There is one f, the last.
func (m *Member) OnCut(f func()) {
	m.room.mu.Lock()
	defer m.room.mu.Unlock()
	m.onCut = f
	if m.ended == ErrSlow {
		f()
	}
}

// Leave ends the membership, and Next and Post with it; what was posted may be
// stored all the same. It may be called again, and from any goroutine.
func (m *Member) Leave() {
	m.left.Do(func() {
		r := m.room
		r.mu.Lock()
		m.finish(ErrClosed)
		m.reading = false
		last := len(r.members) - 1
		r.members[m.place] = r.members[last]
		r.members[m.place].place = m.place
		r.members[last] = nil
		r.members = r.members[:last]
		r.exit(m.user)
		r.mu.Unlock()
		r.hub.counts.members.Add(-1)
		r.hub.release(r)
	})
}

// Next waits for events and fills at least one and at most len(events) of them.
// For one goroutine. After an error there are no more events. Errors: ErrSlow,
// ErrUnavailable (a post could not be stored, and nothing posted after it is; or
// the replay could not be read), *GoneError (the log has discarded what was still
// to be replayed, or what other nodes had stored before this one could read it),
// ErrClosed, the context's.
func (m *Member) Next(ctx context.Context, events []Event) (int, error) {
	r := m.room
	for {
		r.mu.Lock()
		n := m.take(events)
		replay := !m.reading
		var wake <-chan struct{}
		if n == 0 && m.over() == nil && !replay {
			wake = r.awoken()
		}
		err := m.over()
		r.mu.Unlock()
		if n == 0 && err == nil && replay {
			n, err = m.replay(ctx, events)
		}
		switch {
		case n > 0:
			r.hub.counts.deliveries.Add(messages(events[:n]))
			return n, nil
		case err != nil:
			return 0, err
		case replay:
			continue
		}
		select {
		case <-wake:
		case <-m.done:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// messages counts those among the events.
func messages(events []Event) (count uint64) {
	for i := range events {
		if kind := events[i].Kind; kind == chatpb.Kind_MESSAGE || kind == chatpb.Kind_ACKNOWLEDGEMENT {
			count++
		}
	}
	return count
}

// over returns why there are no more events, and nil while there are: a member
// whose post could not be stored gets the acknowledgements of those before it.
// With the room's mu.
func (m *Member) over() error {
	if m.ended != nil && (m.ended == ErrSlow || m.ended == ErrClosed || len(m.owed) == 0) {
		return m.ended
	}
	return nil
}

// take fills events without waiting, until they have givenBytes, and returns how many.
// With the room's mu.
func (m *Member) take(events []Event) int {
	r := m.room
	if !m.reading && m.last >= r.ring.evicted && m.over() == nil {
		m.follow(r.ring.base)
	}
	n, size := 0, 0
	for n < len(events) && size < givenBytes && m.over() == nil {
		if m.pay(&events[n]) {
			size += events[n].Entry.size()
			n++
			continue
		}
		if !m.reading {
			break
		}
		if !m.live && m.last >= m.target {
			m.live = true
			events[n] = Event{Kind: chatpb.Kind_LIVE, Sequence: max(m.last, m.floor)}
			n++
			continue
		}
		if m.position == r.ring.head {
			break
		}
		e := r.ring.at(m.position)
		m.position++
		if m.wants(e, m.position-1) {
			events[n] = *e
			m.had(&events[n])
			size += e.Entry.size()
			n++
		}
	}
	return n
}

// wants says whether the event at a position is for the member: messages that the
// replay has not had, and, once live, what has happened since it came.
func (m *Member) wants(e *Event, position uint64) bool {
	if e.Kind == chatpb.Kind_MESSAGE {
		return e.Entry.Sequence > m.last
	}
	return m.live && position >= m.since && !(e.Kind == chatpb.Kind_TYPING && e.User == m.user)
}

// had notes that the member gets an event, and makes it the acknowledgement if
// the message is the member's own.
func (m *Member) had(e *Event) {
	if e.Kind != chatpb.Kind_MESSAGE {
		return
	}
	m.last = e.Entry.Sequence
	if len(m.owed) > 0 && m.owed[0].sequence == m.last {
		e.Kind, e.Wire, e.Shared = chatpb.Kind_ACKNOWLEDGEMENT, nil, nil
		m.acknowledged()
	}
}

// pay gives the acknowledgement that is owed next if it is of a message that was
// stored before, and the member has got as far as that message: the room's order
// holds for acknowledgements, too.
func (m *Member) pay(e *Event) bool {
	if len(m.owed) == 0 || m.owed[0].duplicate == nil || m.owed[0].duplicate.Sequence > m.last {
		return false
	}
	*e = Event{Kind: chatpb.Kind_ACKNOWLEDGEMENT, Entry: *m.owed[0].duplicate}
	m.acknowledged()
	return true
}

func (m *Member) acknowledged() {
	m.unacknowledged--
	m.unacknowledgedBytes -= m.owed[0].weight
	m.owed[0] = owed{}
	if m.owed = m.owed[1:]; len(m.owed) == 0 {
		m.owed = nil
	}
	if m.credit != nil {
		select {
		case m.credit <- struct{}{}:
		default:
		}
	}
}
