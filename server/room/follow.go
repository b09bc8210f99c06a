package room

import "sync"

// behind has the rooms of which the log has more than has been published.
type behind struct {
	signal chan struct{} // of one place; nil without a cluster

	mu    sync.Mutex
	rooms map[*room]bool
}

// read has the room's missing entries read soon. It does not wait.
func (h *Hub) read(r *room) {
	if h.behind.signal == nil {
		return
	}
	h.behind.mu.Lock()
	if h.behind.rooms == nil {
		h.behind.rooms = map[*room]bool{}
	}
	h.behind.rooms[r] = true
	h.behind.mu.Unlock()
	select {
	case h.behind.signal <- struct{}{}:
	default:
	}
}

// catchUp reads what rooms are behind, until the hub closes. A room that the log
// cannot serve now is left to the keeper, which compares it again.
func (h *Hub) catchUp() {
	for {
		select {
		case <-h.open.Done():
			return
		case <-h.behind.signal:
		}
		h.behind.mu.Lock()
		rooms := h.behind.rooms
		h.behind.rooms = nil
		h.behind.mu.Unlock()
		for r := range rooms {
			if err := r.catchUp(h.open); err != nil && h.open.Err() == nil && err != errBusy {
				h.config.Logger.Warn("a room could not be caught up", "error", err)
			}
		}
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
	r.stops = append(r.stops, stop)
	return nil
}

// unfollow ends what follow began. It must be called once at most at a time, and
// not with mu.
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
