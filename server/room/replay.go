package room

import (
	"context"
	"errors"

	chatpb "securechat/proto/chat"
)

const (
	// givenBytes bounds what a member is given at a time, in bytes to be sent: who is
	// stuck in handing it on holds that much, up to twice, also where the room has it
	// no more. One entry is given whatever its size.
	givenBytes = 128 << 10
	// firstStride is how many entries of a replay are read first.
	firstStride = 8
)

// reachable returns a *GoneError if the room cannot be replayed from after a
// sequence without leaving out what has been discarded.
func (r *room) reachable(ctx context.Context, after uint64) error {
	if after == 0 {
		return nil
	}
	r.mu.Lock()
	tail, evicted, floor, lost := r.tail, r.ring.evicted, r.floor, r.lost
	r.mu.Unlock()
	switch {
	case after > tail && after > floor:
		return r.given(ctx, after)
	case after < lost:
		return &GoneError{Oldest: lost}
	case after >= evicted:
		return nil
	}
	entries, _, err := r.hub.config.Log.Read(ctx, r.key, after, 1)
	if err != nil {
		return err
	}
	return r.whole(ctx, after, entries)
}

// given returns a *GoneError if the log has not got as far as a sequence.
func (r *room) given(ctx context.Context, after uint64) error {
	first, last, err := r.hub.config.Log.Span(ctx)
	if err != nil || after <= last {
		return err
	}
	entries, _, err := r.hub.config.Log.Read(ctx, r.key, 0, 1)
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return &GoneError{Oldest: entries[0].Previous}
	}
	return &GoneError{Oldest: first - 1}
}

// whole returns a *GoneError if entries, read after a sequence that the room has
// messages after, do not begin with the first of these.
func (r *room) whole(ctx context.Context, after uint64, entries []Entry) error {
	if len(entries) > 0 {
		if entries[0].Previous > after {
			return &GoneError{Oldest: entries[0].Previous}
		}
		return nil
	}
	newest, err := r.hub.config.Log.Newest(ctx, r.key)
	if err != nil || newest > after {
		return err // whoever answered the read lags
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return &GoneError{Oldest: r.tail}
}

// replay fills events with messages from the log. It returns none where it has to
// be called again, or the ring goes on.
func (m *Member) replay(ctx context.Context, events []Event) (int, error) {
	r := m.room
	r.mu.Lock()
	after, tail := m.last, r.tail
	r.mu.Unlock()
	entries, err := m.read(ctx, after, min(len(events), m.stride))
	if err != nil {
		return 0, err
	}
	if owed := m.wholeAfter(after); owed < tail {
		if err := r.whole(ctx, owed, entries); err != nil {
			return 0, err
		}
	}
	if len(entries) == 0 {
		return 0, m.nothing(ctx, after, tail)
	}
	n := m.keep(events, m.step(entries), tail)
	return n, encodeAll(events[:n])
}

// read reads a page once the user's other replays leave it a place.
func (m *Member) read(ctx context.Context, after uint64, limit int) ([]Entry, error) {
	done, err := m.room.hub.replaying.take(ctx, m.user)
	if err != nil {
		return nil, err
	}
	defer done()
	entries, _, err := m.room.hub.config.Log.Read(ctx, m.room.key, after, limit)
	return entries, err
}

// wholeAfter returns the sequence after which nothing may be missing of what is read
// after the last message that the member has had. Who has had none may begin where
// what is kept does, but misses nothing that has come since it joined.
func (m *Member) wholeAfter(last uint64) uint64 {
	if last > 0 {
		return last
	}
	return max(m.target, m.floor)
}

// step returns those of the entries that are given at a time, and sets how many are
// read at the next: as many as these, or twice as many where that is little.
func (m *Member) step(entries []Entry) []Entry {
	size := 0
	for i := range entries {
		if size += entries[i].size(); i > 0 && size > givenBytes {
			m.stride = i
			return entries[:i]
		}
	}
	if m.stride = max(len(entries), 1); 2*size <= givenBytes {
		m.stride *= 2
	}
	return entries
}

// nothing is for a read that returned nothing though the room has had messages
// after that sequence: they are discarded, or whoever answered lags.
func (m *Member) nothing(ctx context.Context, after, tail uint64) error {
	newest, err := m.room.hub.config.Log.Newest(ctx, m.room.key)
	if err != nil {
		return err
	}
	if newest > after {
		return pause(ctx, backoff(2))
	}
	m.room.mu.Lock()
	defer m.room.mu.Unlock()
	m.last = max(m.last, tail)
	return nil
}

// keep fills events with entries up to tail: what comes after it may be the
// member's own, which the writer has yet to say.
func (m *Member) keep(events []Event, entries []Entry, tail uint64) int {
	m.room.mu.Lock()
	defer m.room.mu.Unlock()
	n := 0
	for _, entry := range entries {
		if entry.Sequence > tail {
			m.last = max(m.last, tail)
			break
		}
		for n < len(events) && m.pay(&events[n]) {
			n++
		}
		if n == len(events) {
			break
		}
		events[n] = Event{Kind: chatpb.Kind_MESSAGE, Entry: entry}
		m.had(&events[n])
		n++
	}
	return n
}

func encodeAll(events []Event) error {
	var failed error
	for i := range events {
		if e := &events[i]; e.Kind == chatpb.Kind_MESSAGE {
			wire, err := AppendMessage(nil, &e.Entry)
			e.Wire, failed = wire, errors.Join(failed, err)
		}
	}
	return failed
}
