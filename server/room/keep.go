package room

import (
	"slices"
	"time"
)

const (
	// beat is how often the keeper looks at the rooms.
	beat = 500 * time.Millisecond
	// unused is how long a room stays loaded when nobody uses it, so that who
	// comes back at once finds it, and indexed how long one does whose ids have
	// been read, which may have taken long, or of which an append is in doubt.
	unused  = 5 * time.Second
	indexed = 30 * time.Minute
	// maxUnused and maxUnusedIDs bound the rooms that stay loaded unused, and the
	// ids that they have together, of about 24 bytes each.
	maxUnused    = 1024
	maxUnusedIDs = 1 << 20
	// compared is how often a room with members is compared with the log, in case
	// the last that another node has told of was lost, or what was in doubt is stored.
	compared = 5 * time.Second
	// comparedAlone is how often where no other node writes: lest the positions that
	// those who come are given become older than what is kept.
	comparedAlone = 10 * time.Minute
	// quiet is after how many beats without an event a room keeps no events for
	// those who come back.
	quiet = 20
)

// keep does what time demands until the hub closes.
func (h *Hub) keep() {
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	var reconnected <-chan struct{}
	comparing := comparedAlone
	if h.config.Cluster != nil {
		reconnected, comparing = h.config.Cluster.Reconnected(), compared
	}
	now := h.config.Now()
	listed, looked, read := now, now, now
	// Each has all nodes tell whom they have in all rooms: what comes soon after another,
	// as where a node is too slow all the time, waits for the next beat.
	lately, missed := false, false
	for {
		select {
		case <-h.open.Done():
			return
		case <-reconnected:
			if missed = lately; !lately {
				h.reconnected()
				lately = true
			}
			continue
		case <-ticker.C:
		}
		if lately = missed; missed {
			h.reconnected()
			missed = false
		}
		now := h.config.Now()
		due := chores{now.Sub(listed) >= again, now.Sub(looked) >= compared, now.Sub(read) >= comparing}
		for _, r := range h.loaded() {
			r.beat(now, due)
		}
		if due.list {
			listed = now
		}
		if due.doubt {
			looked = now
		}
		if due.read {
			read = now
		}
		h.unload(now)
	}
}

// chores are what is due in all rooms: to list says that the other nodes are to be told
// whom they have, to read that the log may have more, to doubt that it may of those of
// which an append is in doubt.
type chores struct{ list, doubt, read bool }

// beat does for a room what is due.
func (r *room) beat(now time.Time, due chores) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.attend(now)
	r.cutSlow()
	if due.list && len(r.present.here) > 0 {
		r.hub.announce(r)
	}
	if due.read && len(r.members) > 0 {
		r.hub.read(r)
	}
	if due.doubt && len(r.members) > 0 && r.doubtful {
		r.hub.doubted.add(r)
	}
	if r.index.due() {
		r.hub.pruned.add(r)
	}
	r.tidy()
}

// tidy gives the ring's memory back once everybody has read it and nothing has
// happened for a while. Where all rings hold much it does so at the first look at
// which nothing has, and who has not read it is lapped: those who read nothing must not
// have for good what is there for all. With mu.
func (r *room) tidy() {
	if r.beatHead != r.ring.head {
		r.beatHead, r.still = r.ring.head, 0
		return
	}
	r.still++
	if r.ring.base == r.ring.head || !r.ring.all.tight() && (r.still < quiet || !r.allRead()) {
		return
	}
	r.ring.clear()
	r.overtake()
}

// allRead says whether everybody who reads the ring has read all of it. With mu.
func (r *room) allRead() bool {
	for _, m := range r.members {
		if m.reading && m.position < r.ring.head {
			return false
		}
	}
	return true
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
		r.mu.Lock()
		r.ring.clear()
		r.mu.Unlock()
	}
}

// resting is a room that nobody uses.
type resting struct {
	room *room
	idle time.Time // since when
	ids  int
	// lasts is how long it may stay.
	lasts time.Duration
}

// takeUnused takes the rooms out that have been unused for too long, and those
// that have been for the longest where there are too many.
func (h *Hub) takeUnused(now time.Time) []*room {
	h.mu.Lock()
	defer h.mu.Unlock()
	rest := h.resting()
	slices.SortFunc(rest, func(a, b resting) int { return b.idle.Compare(a.idle) }) // the latest first
	var taken []*room
	rooms, ids := 0, 0
	for _, r := range rest {
		if now.Sub(r.idle) < r.lasts && rooms < maxUnused && ids+r.ids <= h.config.unusedIDs {
			rooms, ids = rooms+1, ids+r.ids
			continue
		}
		delete(h.rooms, r.room.key)
		taken = append(taken, r.room)
	}
	return taken
}

// resting returns the rooms that nobody uses and that nothing is under way in. With
// mu.
func (h *Hub) resting() []resting {
	var rest []resting
	for _, r := range h.rooms {
		if r.holders > 0 {
			continue
		}
		r.mu.Lock()
		if r.loaded && r.pending == 0 && !r.appending && r.indexing == nil {
			one := resting{room: r, idle: r.idle, ids: r.index.len(), lasts: unused}
			if r.identified && one.ids > 0 || r.doubtful {
				one.lasts = indexed
			}
			rest = append(rest, one)
		}
		r.mu.Unlock()
	}
	return rest
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
