package roomtest

import (
	"context"
	"fmt"
	"sort"
	"sync"
	"time"

	"securechat/server/room"
)

const (
	// firstSequence is that of a log's first entry.
	firstSequence = 2
	// readBytes bounds the texts of one Read.
	readBytes = 1 << 20
)

// Limits is how long a log keeps entries; zero values keep them for good.
type Limits struct {
	MaxAge     time.Duration
	MaxPerRoom int
}

// Memory is a room.Log in memory. It does what the durable logs do, save that it
// ends with the process, and it fails where a test asks for it: see Fail, Conflict,
// Doubt, HoldAppends, HoldAnswers, DiscardBefore, DiscardRoom, Lose and Rewind.
type Memory struct {
	limits Limits
	faults faults

	mu    sync.Mutex
	last  uint64 // given so far
	order []*kept
	rooms map[room.Key][]*kept
	watch map[*Cluster]bool
}

var _ room.Log = (*Memory)(nil)

// kept is an entry in the log. Those that are discarded from the middle of the
// order stay in it, marked.
type kept struct {
	room.Entry
	at        time.Time // stored
	discarded bool
}

// NewMemory returns an empty log that keeps everything.
func NewMemory() *Memory { return NewMemoryWithin(Limits{}) }

// NewMemoryWithin returns an empty log that discards what is beyond the limits.
func NewMemoryWithin(limits Limits) *Memory {
	return &Memory{
		limits: limits,
		last:   firstSequence - 1,
		rooms:  map[room.Key][]*kept{},
		watch:  map[*Cluster]bool{},
	}
}

// Append implements room.Log.
func (m *Memory) Append(ctx context.Context, drafts []room.Draft) (uint64, error) {
	if err := m.faults.beforeAppend(ctx); err != nil {
		return 0, err
	}
	stored, inDoubt := m.faults.doubted(len(drafts))
	first, err := m.store(drafts[:stored])
	switch {
	case err != nil:
		return 0, err
	case inDoubt:
		return 0, room.ErrInDoubt
	}
	if err := m.faults.beforeAnswer(ctx); err != nil {
		return 0, err
	}
	return first, nil
}

func (m *Memory) store(drafts []room.Draft) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire()
	if len(drafts) == 0 {
		return 0, nil
	}
	batch, err := m.number(drafts)
	if err != nil {
		return 0, err
	}
	for _, k := range batch {
		m.order = append(m.order, k)
		m.rooms[k.Room] = append(m.rooms[k.Room], k)
		m.last = k.Sequence
		m.keepNewest(k.Room, m.limits.MaxPerRoom)
	}
	for cluster := range m.watch {
		for _, k := range batch {
			cluster.stored(k.Entry)
		}
	}
	return batch[0].Sequence, nil
}

// number makes entries of drafts, unless a room has been written to meanwhile.
func (m *Memory) number(drafts []room.Draft) ([]*kept, error) {
	at := time.Now()
	previous := map[room.Key]uint64{}
	batch := make([]*kept, len(drafts))
	for i := range drafts {
		draft := &drafts[i]
		before, known := previous[draft.Room]
		if !known {
			var err error
			if before, err = m.previous(draft); err != nil {
				return nil, err
			}
		}
		e := draft.Entry
		e.Sequence, e.Previous = m.last+1+uint64(i), before
		// As a durable log would have it when it is read back.
		record, err := room.AppendRecord(nil, &e, 0)
		if err != nil {
			return nil, err
		}
		if e, err = room.ParseRecord(e.Room, e.Sequence, record); err != nil {
			return nil, err
		}
		batch[i] = &kept{Entry: e, at: at}
		previous[draft.Room] = e.Sequence
	}
	return batch, nil
}

// previous returns what a room's first draft is linked to.
func (m *Memory) previous(draft *room.Draft) (uint64, error) {
	if entries := m.rooms[draft.Room]; len(entries) > 0 {
		newest := entries[len(entries)-1].Sequence
		if newest < draft.Expected {
			return 0, &room.BehindError{Room: draft.Room, Known: draft.Expected, Newest: newest}
		}
		if newest != draft.Expected {
			return 0, fmt.Errorf("%w: sequence %d is there, %d was expected", room.ErrConflict, newest, draft.Expected)
		}
		return newest, nil
	}
	if draft.Expected >= m.first() {
		return 0, &room.BehindError{Room: draft.Room, Known: draft.Expected}
	}
	if draft.Expected > 0 {
		return draft.Expected, nil // discarded since
	}
	if first := m.first(); first > firstSequence {
		return first - 1, nil // whatever the room had came before
	}
	return 0, nil
}

// Read implements room.Log.
func (m *Memory) Read(ctx context.Context, key room.Key, after uint64, limit int) ([]room.Entry, bool, error) {
	if err := m.faults.beforeRead(ctx); err != nil {
		return nil, false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire()
	var entries []room.Entry
	size := 0
	kept := m.rooms[key]
	begin := sort.Search(len(kept), func(i int) bool { return kept[i].Sequence > after })
	for _, k := range kept[begin:] {
		if len(entries) >= limit || size > readBytes {
			return entries, true, nil
		}
		entries = append(entries, k.Entry)
		size += len(k.Text)
	}
	return entries, false, nil
}

// Newest implements room.Log.
func (m *Memory) Newest(ctx context.Context, key room.Key) (uint64, error) {
	if err := m.faults.beforeRead(ctx); err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire()
	entries := m.rooms[key]
	if len(entries) == 0 {
		return 0, nil
	}
	return entries[len(entries)-1].Sequence, nil
}

// Span implements room.Log.
func (m *Memory) Span(ctx context.Context) (first, last uint64, err error) {
	if err := m.faults.beforeRead(ctx); err != nil {
		return 0, 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire()
	return m.first(), m.last, nil
}

// Rooms implements room.Log.
func (m *Memory) Rooms(ctx context.Context, yield func(room.Key, uint64) bool) error {
	if err := m.faults.beforeRead(ctx); err != nil {
		return err
	}
	for key, newest := range m.newest() {
		if !yield(key, newest) {
			break
		}
	}
	return nil
}

func (m *Memory) newest() map[room.Key]uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire()
	newest := make(map[room.Key]uint64, len(m.rooms))
	for key, entries := range m.rooms {
		newest[key] = entries[len(entries)-1].Sequence
	}
	return newest
}

// Close implements room.Log. The entries stay, so that whoever uses the log next
// finds them.
func (m *Memory) Close() error { return nil }
