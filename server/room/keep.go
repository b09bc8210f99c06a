package room

import "time"

const (
	// beat is how often the keeper looks at the rooms.
	beat = 500 * time.Millisecond
	// unused is how long a room stays loaded when nobody uses it.
	unused = time.Minute
	// compared is how often a room with members is compared with the log, in case
	// the last that another node has told of was lost.
	compared = 5 * time.Second
	// quiet is after how many beats without an event a room keeps no events for
	// those who come back.
	quiet = 20
)

// keep does what time demands until the hub closes.
func (h *Hub) keep() {
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	var reconnected <-chan struct{}
	if h.config.Cluster != nil {
		reconnected = h.config.Cluster.Reconnected()
	}
	now := h.config.Now()
	listed, looked := now, now
	for {
		select {
		case <-h.open.Done():
			return
		case <-reconnected:
			h.reconnected()
			continue
		case <-ticker.C:
		}
		now := h.config.Now()
		list, look := now.Sub(listed) >= again, now.Sub(looked) >= compared
		for _, r := range h.loaded() {
			r.beat(now, list, look)
		}
		if list {
			listed = now
		}
		if look {
			looked = now
		}
		h.unload(now)
	}
}

// beat does for a room what is due: to list says that the other nodes are to be
// told whom it has, to look that the log may have more.
func (r *room) beat(now time.Time, list, look bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.attend(now)
	r.cutSlow(now)
	if list && len(r.present.here) > 0 {
		r.hub.announce(r)
	}
	if look && len(r.members) > 0 {
		r.hub.read(r)
	}
	if r.index.due() {
		r.hub.pruned.add(r)
	}
	r.tidy()
}

// tidy gives the ring's memory back once everybody has read it and nothing has
// happened for a while. With mu.
func (r *room) tidy() {
	if r.beatHead != r.ring.head {
		r.beatHead, r.still = r.ring.head, 0
		return
	}
	if r.still++; r.still < quiet || r.ring.base == r.ring.head {
		return
	}
	for _, m := range r.members {
		if m.reading && m.position < r.ring.head {
			return
		}
	}
	r.ring.clear()
}

// reconnected has everything looked at again that may have been missed.
func (h *Hub) reconnected() {
	for _, r := range h.loaded() {
		h.read(r)
		h.announce(r)
		h.publish(r.key, note{Node: h.node, Kind: noteAsk})
	}
}

// loaded returns the rooms that are.
func (h *Hub) loaded() []*room {
	h.mu.Lock()
	defer h.mu.Unlock()
	rooms := make([]*room, 0, len(h.rooms))
	for _, r := range h.rooms {
		select {
		case <-r.ready:
			rooms = append(rooms, r)
		default:
		}
	}
	return rooms
}

// unload forgets the rooms that nobody has used for a while.
func (h *Hub) unload(now time.Time) {
	for _, r := range h.takeUnused(now) {
		r.unfollow()
	}
}

func (h *Hub) takeUnused(now time.Time) []*room {
	h.mu.Lock()
	defer h.mu.Unlock()
	var taken []*room
	for key, r := range h.rooms {
		if r.holders > 0 || now.Sub(r.idle) < unused {
			continue
		}
		r.mu.Lock()
		still := r.loaded && r.pending == 0 && !r.appending
		r.mu.Unlock()
		if still {
			delete(h.rooms, key)
			taken = append(taken, r)
		}
	}
	return taken
}

// prune forgets the ids of entries that the log has discarded, until the hub
// closes.
func (h *Hub) prune() {
	for h.open.Err() == nil {
		for r := range h.pruned.take(h.open) {
			if err := r.prune(); err != nil && h.open.Err() == nil {
				h.config.Logger.Warn("the ids of discarded messages could not be forgotten", "error", err)
			}
		}
	}
}

func (r *room) prune() error {
	oldest, _, err := r.hub.config.Log.Read(r.hub.open, r.key, 0, 1)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case len(oldest) > 0:
		r.index.prune(oldest[0].Sequence)
	default:
		// It may have been written to since.
		r.index.pruned = r.index.len()
	}
	return nil
}
