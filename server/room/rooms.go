package room

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// pageSize is how many entries are read from the log at a time.
const pageSize = 512

// acquire returns the room, loaded, and holds it until release. Those who come
// while it is being loaded wait for the same load.
func (h *Hub) acquire(ctx context.Context, key Key, user string) (*room, error) {
	r, _, err := h.hold(key, nil)
	if r == nil && err == nil {
		r, err = h.begin(ctx, key, user)
	}
	if err != nil {
		return nil, err
	}
	select {
	case <-r.ready:
	case <-ctx.Done():
		h.release(r)
		return nil, ctx.Err()
	}
	if r.failed != nil {
		h.release(r)
		return nil, r.failed
	}
	return r, nil
}

// begin has a room loaded, unless somebody else has by then, and holds it. For one user a
// few are loaded at a time, whether or not anybody still waits for them.
func (h *Hub) begin(ctx context.Context, key Key, user string) (*room, error) {
	done, err := h.loading.take(ctx, user)
	if err != nil {
		return nil, err
	}
	r, begun, err := h.hold(key, done)
	if !begun {
		done()
	}
	return r, err
}

// hold returns the room and holds it until release. One that the hub does not have it
// begins to load, and calls loaded when that is over; if that is nil it returns none.
func (h *Hub) hold(key Key, loaded func()) (r *room, begun bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, false, ErrClosed
	}
	if r = h.rooms[key]; r == nil {
		if loaded == nil {
			return nil, false, nil
		}
		r, begun = newRoom(h, key), true
		h.rooms[key] = r
		h.tasks.Go(func() {
			defer loaded()
			r.load()
		})
	}
	r.holders++
	return r, begun, nil
}

func (h *Hub) release(r *room) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r.holders--
	r.idle = h.config.Now()
}

// load finds the room in the log. It follows the room before, so that nothing is
// missed in between.
func (r *room) load() {
	defer close(r.ready)
	err := r.follow()
	if err == nil {
		err = r.find(r.hub.open)
	}
	if err == nil {
		return
	}
	if r.failed = fmt.Errorf("load the room: %w", err); r.hub.open.Err() != nil {
		r.failed = ErrClosed
	}
	r.hub.mu.Lock()
	if r.hub.rooms[r.key] == r {
		delete(r.hub.rooms, r.key) // the next who comes tries again
	}
	r.hub.mu.Unlock()
	r.unfollow()
}

// find finds out where the room stands in the log.
func (r *room) find(ctx context.Context) error {
	first, last, newest, err := r.standing(ctx)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tail, r.floor, r.ring.evicted = newest, last, newest
	if newest == 0 {
		r.lost = first - 1
	}
	r.loaded = true
	if r.heard > r.tail {
		r.hub.read(r)
	}
	return nil
}

// standing asks the log for its span and the room's newest.
func (r *room) standing(ctx context.Context) (first, last, newest uint64, err error) {
	log := r.hub.config.Log
	if first, last, err = log.Span(ctx); err != nil {
		return 0, 0, 0, err
	}
	if newest, err = log.Newest(ctx, r.key); err == nil && newest == 0 {
		first, _, err = log.Span(ctx) // what it had may just have been discarded
	}
	return first, last, newest, err
}

// errBusy says that the room is being appended to, so that who does it has to
// catch up afterwards.
var errBusy = errors.New("room: an append is under way")

// errLags says that whoever answers for the log does not have what it has stored, and has
// not got it within a second: others are not to wait for that.
var errLags = fmt.Errorf("%w: it does not show yet what it has stored", ErrUnavailable)

// catchUp publishes what the log has after tail. It does not while the room is
// being appended to, save for the writer itself (catchUpAppending): what it would
// read may be this node's own posts, which only the writer can tell.
func (r *room) catchUp(ctx context.Context) (newest uint64, err error) {
	return r.advance(ctx, false)
}

func (r *room) catchUpAppending(ctx context.Context) error {
	_, err := r.advance(ctx, true)
	return err
}

// advance reads from the log up to what is its newest when it begins, and publishes,
// within an append or as long as there is none, and as long as the room does not begin
// anew. It returns that newest, 0 where there is none.
func (r *room) advance(ctx context.Context, within bool) (newest uint64, err error) {
	log, begun := r.hub.config.Log, r.beginning()
	if newest, err = log.Newest(ctx, r.key); err != nil {
		return 0, err
	}
	for attempt := 0; ; {
		r.mu.Lock()
		after := r.tail
		r.mu.Unlock()
		if newest <= after {
			return newest, nil
		}
		entries, more, err := log.Read(ctx, r.key, after, pageSize)
		if err != nil {
			return 0, err
		}
		if err := r.publishRead(entries, within, begun); err != nil {
			return 0, err
		}
		if more || len(entries) > 0 {
			attempt = 0
			continue
		}
		// It has just been discarded, or a node of the log's answered that lags.
		if newest, err = log.Newest(ctx, r.key); err != nil {
			return 0, err
		}
		if newest > after {
			if attempt >= passing {
				return 0, errLags
			}
			if err := pause(ctx, backoff(attempt)); err != nil {
				return 0, err
			}
			attempt++
		}
	}
}

func (r *room) publishRead(entries []Entry, within bool, begun uint64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.begun != begun {
		return errAnew // what was read may be gone
	}
	if r.appending && !within {
		if last := len(entries) - 1; last >= 0 {
			r.heard = max(r.heard, entries[last].Sequence) // for who is appending to read
		}
		return errBusy
	}
	for _, entry := range entries {
		if entry.Sequence <= r.tail {
			continue
		}
		if entry.Previous > max(r.tail, r.floor) {
			r.gap(entry.Previous)
		}
		r.publish(entry)
	}
	r.broadcast()
	return nil
}

// gap notes that what came after tail, up to a sequence, was discarded before it was
// read: everybody reads on from the log, where those who have not had it find out. With
// mu.
func (r *room) gap(until uint64) {
	r.ring.clear()
	r.ring.evicted = until
	for _, m := range r.members {
		if m.reading {
			m.lap()
		}
	}
}

// backoff is how long to wait before an attempt, counted from 0: a few
// milliseconds at first, at most a quarter of a second.
func backoff(attempt int) time.Duration {
	return min(2*time.Millisecond<<min(attempt, 10), 250*time.Millisecond)
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
