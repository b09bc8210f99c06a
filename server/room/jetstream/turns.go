package jetstream

import (
	"context"
	"slices"
	"sync"

	"securechat/server/room"
)

// turns bounds how many pages are read at once. Where more want to, rooms take
// turns, and within a room those who wait do, in the order in which they came: many
// readers of one room do not hold up those of another.
type turns struct {
	mu      sync.Mutex
	free    int
	order   []room.Key // the rooms that wait, the next one first
	waiting map[room.Key][]chan struct{}
}

func newTurns(count int) *turns {
	return &turns{free: count, waiting: map[room.Key][]chan struct{}{}}
}

// take waits for a turn, which ends with done.
func (t *turns) take(ctx context.Context, key room.Key) error {
	t.mu.Lock()
	if t.free > 0 {
		t.free--
		t.mu.Unlock()
		return nil
	}
	mine := make(chan struct{})
	if len(t.waiting[key]) == 0 {
		t.order = append(t.order, key)
	}
	t.waiting[key] = append(t.waiting[key], mine)
	t.mu.Unlock()
	select {
	case <-mine:
		return nil
	case <-ctx.Done():
	}
	if !t.leave(key, mine) {
		t.done() // it has come at the same time
	}
	return ctx.Err()
}

// leave has somebody wait no longer, and returns false where the turn has come.
func (t *turns) leave(key room.Key, mine chan struct{}) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.Index(t.waiting[key], mine)
	if i < 0 {
		return false
	}
	if t.waiting[key] = slices.Delete(t.waiting[key], i, i+1); len(t.waiting[key]) == 0 {
		delete(t.waiting, key)
		at := slices.Index(t.order, key)
		t.order = slices.Delete(t.order, at, at+1)
	}
	return true
}

// done passes the turn on.
func (t *turns) done() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.order) == 0 {
		t.free++
		return
	}
	key := t.order[0]
	t.order = t.order[1:]
	close(t.waiting[key][0])
	if t.waiting[key] = t.waiting[key][1:]; len(t.waiting[key]) == 0 {
		delete(t.waiting, key)
		return
	}
	t.order = append(t.order, key)
}
