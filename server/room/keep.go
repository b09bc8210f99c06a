package room

import "time"

const (
	// beat is how often the keeper looks at the rooms.
	beat = 500 * time.Millisecond
	// unused is how long a room stays loaded when nobody uses it.
	unused = time.Minute
)

// keep does what time demands until the hub closes.
func (h *Hub) keep() {
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	for {
		select {
		case <-h.open.Done():
			return
		case <-ticker.C:
		}
		h.unload(h.config.Now())
	}
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
		pending := r.pending
		r.mu.Unlock()
		if pending == 0 {
			delete(h.rooms, key)
			taken = append(taken, r)
		}
	}
	return taken
}
