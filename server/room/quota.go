package room

import (
	"cmp"
	"context"
	"sync"
)

const (
	// everyUsers is how many pages of replays are read for one user at a time, and the ids of
	// how many rooms: fewer than a log serves at a time.
	everyUsers = 4
	// everyLoads is how many rooms are loaded for one user at a time.
	everyLoads = 8
)

// A quota bounds how much of something is done for one user at a time; what is beyond
// that waits. A log has rooms take turns: without a quota who is in very many rooms
// would have nearly all of them.
type quota struct {
	each int // how many places a user has; 0 is everyUsers

	mu    sync.Mutex
	users map[string]*places
}

// places are one user's.
type places struct {
	holders int           // who have one, or wait; guarded by the quota's mu
	taken   chan struct{} // has a value for each that is
}

// take waits for a place, which the user has until done is called. The context ends
// the waiting.
func (q *quota) take(ctx context.Context, user string) (done func(), err error) {
	own := q.join(user)
	select {
	case own.taken <- struct{}{}:
	case <-ctx.Done():
		q.leave(user, own)
		return nil, ctx.Err()
	}
	return func() {
		<-own.taken
		q.leave(user, own)
	}, nil
}

func (q *quota) join(user string) *places {
	q.mu.Lock()
	defer q.mu.Unlock()
	own := q.users[user]
	if own == nil {
		own = &places{taken: make(chan struct{}, cmp.Or(q.each, everyUsers))}
		if q.users == nil {
			q.users = map[string]*places{}
		}
		q.users[user] = own
	}
	own.holders++
	return own
}

func (q *quota) leave(user string, own *places) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if own.holders--; own.holders == 0 {
		delete(q.users, user)
	}
}
