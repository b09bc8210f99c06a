package roomtest

import (
	"slices"
	"time"

	"securechat/server/room"
)

// DiscardBefore discards the entries of all rooms before a sequence, as a log's
// age limit does.
func (m *Memory) DiscardBefore(sequence uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.order) > 0 && m.order[0].Sequence < sequence {
		m.discardFirst()
	}
}

// DiscardRoom discards a room's entries but the newest keep of them, as a limit a
// room does.
func (m *Memory) DiscardRoom(key room.Key, keep int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if keep == 0 {
		m.keep(key, 0)
		return
	}
	m.keepNewest(key, keep)
}

// Lose removes a room's entries after a sequence, as an operator does, or a log that
// loses its end; 0 removes them all.
func (m *Memory) Lose(key room.Key, after uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var left []*kept
	for _, k := range m.rooms[key] {
		if k.Sequence <= after {
			left = append(left, k)
		} else {
			k.discarded = true
		}
	}
	if m.rooms[key] = left; len(left) == 0 {
		delete(m.rooms, key)
	}
}

// Rewind has the log lose its end, in all rooms: what came after a sequence, whose
// places it gives anew.
func (m *Memory) Rewind(last uint64) {
	for key := range m.newest() {
		m.Lose(key, last)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.order = slices.DeleteFunc(m.order, func(k *kept) bool { return k.Sequence > last })
	m.last = last
}

// first returns the first sequence that is kept, or the next one to be given.
func (m *Memory) first() uint64 {
	for len(m.order) > 0 && m.order[0].discarded {
		m.order = m.order[1:]
	}
	if len(m.order) == 0 {
		return m.last + 1
	}
	return m.order[0].Sequence
}

// expire discards what is too old.
func (m *Memory) expire() {
	if m.limits.MaxAge == 0 {
		return
	}
	oldest := time.Now().Add(-m.limits.MaxAge)
	for len(m.order) > 0 && (m.order[0].discarded || m.order[0].at.Before(oldest)) {
		m.discardFirst()
	}
}

// discardFirst discards the log's first entry, which is its room's first too.
func (m *Memory) discardFirst() {
	k := m.order[0]
	m.order = m.order[1:]
	if !k.discarded {
		m.keep(k.Room, len(m.rooms[k.Room])-1)
	}
}

// keepNewest discards all but a room's newest limit entries; 0 is no limit.
func (m *Memory) keepNewest(key room.Key, limit int) {
	if limit > 0 && len(m.rooms[key]) > limit {
		m.keep(key, limit)
	}
}

func (m *Memory) keep(key room.Key, count int) {
	entries := m.rooms[key]
	gone := len(entries) - count
	for _, k := range entries[:max(gone, 0)] {
		k.discarded = true
	}
	if count == 0 {
		delete(m.rooms, key)
		return
	}
	m.rooms[key] = entries[max(gone, 0):]
}
