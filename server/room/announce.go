package room

import (
	"context"
	"time"

	chatpb "securechat/proto/chat"
)

const (
	// announced is how often a node tells the others of its users at most, again
	// how often though nothing has changed.
	announced = 100 * time.Millisecond
	again     = 4 * time.Second
	// silent is after how long without a word a node counts as gone.
	silent = 12 * time.Second
	// grace is how long a user may be away without LEFT being told, so that one
	// who changes nodes or networks does not come and go.
	grace = 1500 * time.Millisecond
	// silentBeats and graceBeats are those in beats, of which the first may come at once.
	// While the process is held up, stopped for example, there are none: it would
	// take everybody for gone whose word it has not come to read yet.
	silentBeats, graceBeats = int(silent/beat) + 1, int(grace/beat) + 1
	// atOnce is for who is known to be gone.
	atOnce = 1
	// answers is how long to wait for the other nodes to say whom they have.
	answers = 300 * time.Millisecond
	// typing is how often a user may be said to be typing.
	typing = time.Second
)

// Members returns who is in the room on any node, by name. A user who has just
// left is still there until LEFT is told, up to two seconds later. In a cluster
// it may take 300 ms, where the other nodes have not been asked yet.
// Errors: ErrClosed, the context's, the cluster's.
func (h *Hub) Members(ctx context.Context, key Key) ([]Presence, error) {
	h.mu.Lock()
	r, closed := h.rooms[key], h.closed
	h.mu.Unlock()
	switch {
	case closed:
		return nil, ErrClosed
	case r == nil:
		return h.ask(ctx, key)
	}
	select {
	case <-r.ready:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if r.failed != nil {
		return h.ask(ctx, key)
	}
	if wait := answers - h.config.Now().Sub(r.asked); h.config.Cluster != nil && wait > 0 {
		if err := pause(ctx, min(wait, answers)); err != nil {
			return nil, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.present.toldByName(), nil
}

// ask has the other nodes, if there are any, say whom they have in a room that this one
// does not use.
func (h *Hub) ask(ctx context.Context, key Key) ([]Presence, error) {
	if h.config.Cluster == nil {
		return nil, nil
	}
	heard := newRoom(h, key)
	stop, err := h.config.Cluster.Listen(key, func(b []byte) {
		if n, err := parseNote(b); err == nil && n.Kind == noteUsers && n.Node != h.node {
			heard.mu.Lock()
			defer heard.mu.Unlock()
			heard.present.list(n)
		}
	})
	if err != nil {
		return nil, err
	}
	defer stop()
	if err := h.config.Cluster.Publish(key, note{Node: h.node, Kind: noteAsk}.encode()); err != nil {
		return nil, err
	}
	if err := pause(ctx, answers); err != nil {
		return nil, err
	}
	heard.mu.Lock()
	defer heard.mu.Unlock()
	return heard.present.byName(), nil
}

// enter notes a session of the user's and tells the members if it is the first.
// With mu.
func (r *room) enter(user string) {
	r.present.enter(user, r.hub.config.Now())
	if r.present.here[user].count == 1 {
		r.reconsider(user, graceBeats)
		r.hub.announce(r)
	}
}

// exit notes the end of a session. With mu.
func (r *room) exit(user string) {
	if r.present.exit(user) {
		r.reconsider(user, graceBeats)
		r.hub.announce(r)
	}
}

// reconsider tells the members that a user has come, or has the keeper tell them
// once a user has been gone for some beats. With mu.
func (r *room) reconsider(user string, patience int) {
	since, there := r.present.anywhere(user)
	known := r.present.told[user]
	switch {
	case there && known != nil:
		known.leaves = 0
	case there:
		if r.present.told == nil {
			r.present.told = map[string]*told{}
		}
		r.present.told[user] = &told{since: since}
		r.tell(&Event{Kind: chatpb.Kind_JOINED, User: user, Time: since})
		r.broadcast()
	case known != nil && known.leaves == 0:
		known.leaves = patience
		r.leaving++
	}
}

// attend tells, at each beat, of those who have left, and forgets nodes that have been
// silent for too long. With mu.
func (r *room) attend(now time.Time) {
	for _, user := range r.present.expire() {
		r.reconsider(user, atOnce)
	}
	if r.leaving > 0 {
		r.tellLeft(now)
	}
	for user, at := range r.present.typed {
		if now.Sub(at) >= typing {
			delete(r.present.typed, user)
		}
	}
}

func (r *room) tellLeft(now time.Time) {
	r.leaving = 0
	for user, known := range r.present.told {
		switch {
		case known.leaves == 0:
		case known.leaves > 1:
			known.leaves--
			r.leaving++
		default:
			delete(r.present.told, user)
			r.tell(&Event{Kind: chatpb.Kind_LEFT, User: user, Time: now})
			r.broadcast()
		}
	}
}

// noted is told what another node, or this one, has published.
func (r *room) noted(b []byte) {
	n, err := parseNote(b)
	if err != nil {
		r.hub.config.Logger.Warn("a note of another node is ignored", "error", err)
		return
	}
	if n.Node == r.hub.node {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch n.Kind {
	case noteAsk:
		if len(r.present.here) > 0 {
			r.hub.announce(r)
		}
	case noteTyping:
		r.types(n.User)
	case noteUsers:
		for _, user := range r.present.list(n) {
			r.reconsider(user, graceBeats)
		}
	}
}

// types tells the members that a user is typing, and reports whether it has: it
// does so once a second for a user. With mu.
func (r *room) types(user string) bool {
	now := r.hub.config.Now()
	if at, typed := r.present.typed[user]; typed && now.Sub(at) < typing {
		return false
	}
	if r.present.typed == nil {
		r.present.typed = map[string]time.Time{}
	}
	r.present.typed[user] = now
	r.tell(&Event{Kind: chatpb.Kind_TYPING, User: user, Time: now})
	r.broadcast()
	return true
}

// Typing tells the others, once a second at most, and is forgotten.
func (m *Member) Typing() {
	r := m.room
	r.mu.Lock()
	told := m.ended == nil && r.types(m.user)
	r.mu.Unlock()
	if told && r.hub.config.Cluster != nil {
		r.hub.publish(r.key, note{Node: r.hub.node, Kind: noteTyping, User: m.user})
	}
}

// publish sends a note. What is lost is told again.
func (h *Hub) publish(key Key, n note) {
	if err := h.config.Cluster.Publish(key, n.encode()); err != nil {
		h.config.Logger.Debug("a note could not be published", "error", err)
	}
}

// announce has the other nodes told soon whom this one has in the room. It does
// not wait.
func (h *Hub) announce(r *room) { h.changed.add(r) }

// announceAll tells the other nodes of what has changed, until the hub closes.
func (h *Hub) announceAll() {
	for {
		for r := range h.changed.take(h.open) {
			r.announce()
		}
		if pause(h.open, announced) != nil {
			return
		}
	}
}

func (r *room) announce() {
	r.mu.Lock()
	users := make([]noteUser, 0, len(r.present.here))
	for user, s := range r.present.here {
		users = append(users, noteUser{User: user, Since: s.since.UnixMilli()})
	}
	r.mu.Unlock()
	r.hub.list(r.key, users)
}

// list tells the other nodes whom this one has in a room.
func (h *Hub) list(key Key, users []noteUser) {
	for _, n := range lists(h.node, h.number.Add(1), users) {
		h.publish(key, n)
	}
}

// farewell tells the other nodes that this one has nobody any more in a room, unless
// they know: to tell says that what has changed has not been told.
func (r *room) farewell(tell bool) {
	r.mu.Lock()
	tell = tell || len(r.present.here) > 0
	r.mu.Unlock()
	if tell && r.hub.config.Cluster != nil {
		r.hub.list(r.key, nil)
	}
}
