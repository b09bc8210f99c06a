package room

import (
	"context"
	"sync"
	"time"
)

// dirty has the rooms about which one of the hub's goroutines has to do
// something. The zero value, of which nobody takes, has none.
type dirty struct {
	signal chan struct{} // of one place

	mu    sync.Mutex
	rooms map[*room]bool
}

// add adds a room. It does not wait.
func (d *dirty) add(r *room) {
	if d.signal == nil {
		return
	}
	d.mu.Lock()
	if d.rooms == nil {
		d.rooms = map[*room]bool{}
	}
	d.rooms[r] = true
	d.mu.Unlock()
	select {
	case d.signal <- struct{}{}:
	default:
	}
}

// take waits for rooms and takes them; none once the context has ended.
func (d *dirty) take(ctx context.Context) map[*room]bool {
	select {
	case <-ctx.Done():
		return nil
	case <-d.signal:
	}
	return d.left()
}

// left takes the rooms without waiting.
func (d *dirty) left() map[*room]bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	rooms := d.rooms
	d.rooms = nil
	return rooms
}

// read has what the room misses read soon. It does not wait.
func (h *Hub) read(r *room) { h.behind.add(r) }

// catchUp reads what rooms miss, until the hub closes. A room that the log cannot
// serve now is left to the keeper, which has it compared again.
func (h *Hub) catchUp() {
	for h.open.Err() == nil {
		failed := h.compare(h.behind.take(h.open))
		if failed != nil && h.open.Err() == nil {
			h.config.Logger.Warn("rooms could not be compared with the log", "error", failed)
		}
	}
}

// compare publishes what the log has of the rooms, and returns the last error.
func (h *Hub) compare(rooms map[*room]bool) (failed error) {
	if len(rooms) == 0 {
		return nil
	}
	first, last, err := h.config.Log.Span(h.open)
	if err != nil {
		return err
	}
	for r := range rooms {
		if err := r.compare(h.open, first, last); err != nil && err != errBusy {
			failed = err
		}
	}
	return failed
}

// compare publishes what the log has more of the room. Where it has less, and not for a
// moment only, the room begins anew: first and last are the log's span.
func (r *room) compare(ctx context.Context, first, last uint64) error {
	r.mu.Lock()
	known := r.tail
	r.mu.Unlock()
	newest, err := r.catchUp(ctx)
	if err != nil {
		return err
	}
	if less := newest < known && (newest > 0 || first <= known); !r.lacking(less) {
		r.compared(first, last, newest)
		return nil
	}
	return r.restart(ctx, &BehindError{Room: r.key, Known: known, Newest: newest}, false)
}

// lacking notes that the log has less of the room than is known, or has not, and says
// whether it has had for so long that no leader can be the reason that has been replaced
// and has not noticed.
func (r *room) lacking(less bool) bool {
	now := r.hub.config.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case !less:
		r.lacks = time.Time{}
	case r.lacks.IsZero():
		r.lacks = now
	default:
		return now.Sub(r.lacks) >= compared
	}
	return false
}

// compared notes that what the log has had of the room up to last is published: newest
// was its newest after that. Where it had none, that says so only if the log had
// discarded nothing since the comparison before.
func (r *room) compared(first, last, newest uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if newest > 0 || first <= r.floor+1 {
		r.floor = last // also where the log has lost its end
	}
}

// follow begins to listen to the other nodes.
func (r *room) follow() error {
	cluster := r.hub.config.Cluster
	if cluster == nil {
		return nil
	}
	stop, err := cluster.Follow(r.key, r.followed)
	if err != nil {
		return err
	}
	r.stopping(stop)
	if stop, err = cluster.Listen(r.key, r.noted); err != nil {
		return err
	}
	r.stopping(stop)
	r.asked = r.hub.config.Now()
	r.hub.publish(r.key, note{Node: r.hub.node, Kind: noteAsk})
	return nil
}

func (r *room) stopping(stop func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stops = append(r.stops, stop)
}

// unfollow ends what follow began. Not with mu.
func (r *room) unfollow() {
	r.mu.Lock()
	stops := r.stops
	r.stops = nil
	r.mu.Unlock()
	for _, stop := range stops {
		stop()
	}
}

// followed is told what some node, maybe this one, has stored.
func (r *room) followed(e Entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.heard = max(r.heard, e.Sequence)
	switch {
	case e.Sequence <= r.tail || r.appending || !r.loaded:
	case e.Previous == r.tail:
		r.publish(e)
		r.broadcast()
	default:
		r.hub.read(r)
	}
}
