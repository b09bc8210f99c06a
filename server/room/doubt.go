package room

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// resolve looks, until the hub closes, what the log has of rooms of which an append
// is in doubt, and tells their members. Their next append would find it out too, by
// a conflict, but may be long in coming.
func (h *Hub) resolve() {
	for attempt := 0; h.open.Err() == nil; attempt++ {
		rooms := h.doubted.take(h.open)
		left := 0
		for r := range rooms {
			if _, err := r.catchUp(h.open); err != nil {
				h.doubted.add(r)
				left++
			}
		}
		if left == 0 {
			attempt = 0
			continue
		}
		_ = pause(h.open, backoff(attempt)) // ended: so does the loop
	}
}

// doubts has the room looked at now, and again and again by the keeper.
func (r *room) doubts() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.doubtful = true
	r.hub.doubted.add(r)
}

// errIndexing says that a room's ids are being read.
var errIndexing = errors.New("room: the room's ids are being read: it begins anew with the next post")

// errAnew says that a room has begun anew while somebody was joining it.
var errAnew = fmt.Errorf("%w: the room has begun anew meanwhile", ErrUnavailable)

// errRegressed says that the log has not got as far as a member any more.
var errRegressed = fmt.Errorf("%w: it has lost its end, and gives positions anew", ErrUnavailable)

// beginning returns how often the room has begun anew.
func (r *room) beginning() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.begun
}

// restart has the room begin anew with what the log has of it, where that is less
// than was known. All its members end, without the acknowledgements that they are
// owed, since the log may have lost those messages. They end with what the room was, and
// not before it: else they would come back to that, and end again. Who comes back to a position
// before what was known is told that messages are gone, for as long as the room stays
// loaded: afterwards nothing tells any more. Within is for the writer, during an append:
// others leave the room to it.
func (r *room) restart(ctx context.Context, behind *BehindError, within bool) error {
	reason := fmt.Errorf("%w: %w", ErrUnavailable, behind)
	_, last, newest, err := r.standing(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.appending && !within {
		return errBusy
	}
	r.expel(reason)
	if err != nil {
		return err
	}
	r.lacks = time.Time{}
	if r.indexing != nil {
		return errIndexing
	}
	r.lost = max(r.lost, min(r.tail, last))
	r.ring.clear()
	r.tail, r.floor, r.heard, r.ring.evicted = newest, last, newest, newest
	r.identified, r.index = false, index{}
	return nil
}

// expel ends all members at once; what they and those who have left had posted, and is
// not stored, will not be: the ids that it was held against are forgotten. With mu.
func (r *room) expel(reason error) {
	r.begun++
	for _, m := range r.members {
		m.finish(reason)
		m.owed = nil
	}
	r.broadcast()
}
