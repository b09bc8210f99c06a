package room

// WithHash has ids found by another hash, which may collide.
func (c Config) WithHash(hash func(user, id string) uint64) Config {
	c.hash = hash
	return c
}

// WithUnusedIDs has rooms that nobody uses keep so many ids at most.
func (c Config) WithUnusedIDs(most int) Config {
	c.unusedIDs = most
	return c
}

// Held returns what the rooms' rings hold together, in bytes to be sent, and how many
// events.
func (h *Hub) Held() (bytes int64, events int) {
	for _, r := range h.loaded() {
		r.mu.Lock()
		events += int(r.ring.head - r.ring.base)
		r.mu.Unlock()
	}
	return h.held.bytes.Load(), events
}

// Kept returns how many ids and events the hub has of a room that it has loaded.
func (h *Hub) Kept(key Key) (ids, events int) {
	h.mu.Lock()
	r := h.rooms[key]
	h.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	ids = len(r.index.one)
	for _, sequences := range r.index.more {
		ids += len(sequences)
	}
	return ids, int(r.ring.head - r.ring.base)
}
