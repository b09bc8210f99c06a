package room

import (
	"context"
	"slices"
	"strings"
	"time"

	chatpb "securechat/proto/chat"
)

// presence is who is in a room.
type presence struct {
	here map[string]*sessions
}

// sessions are a user's on this node.
type sessions struct {
	count int
	since time.Time
}

// enter notes a session of the user's and tells the others if it is the first.
// With mu.
func (r *room) enter(user string) {
	s := r.present.here[user]
	if s == nil {
		if r.present.here == nil {
			r.present.here = map[string]*sessions{}
		}
		s = &sessions{since: r.hub.config.Now()}
		r.present.here[user] = s
		r.tell(&Event{Kind: chatpb.Kind_JOINED, User: user, Time: s.since})
		r.broadcast()
	}
	s.count++
}

// exit notes the end of a session and tells the others if it was the last. With mu.
func (r *room) exit(user string) {
	s := r.present.here[user]
	if s.count--; s.count == 0 {
		delete(r.present.here, user)
		r.tell(&Event{Kind: chatpb.Kind_LEFT, User: user, Time: r.hub.config.Now()})
		r.broadcast()
	}
}

// Typing tells the others, and is forgotten.
func (m *Member) Typing() {
	r := m.room
	r.mu.Lock()
	defer r.mu.Unlock()
	if m.ended == nil {
		r.tell(&Event{Kind: chatpb.Kind_TYPING, User: m.user, Time: r.hub.config.Now()})
		r.broadcast()
	}
}

// Members returns who is in the room, by name.
func (h *Hub) Members(ctx context.Context, key Key) ([]Presence, error) {
	h.mu.Lock()
	r := h.rooms[key]
	h.mu.Unlock()
	if r == nil {
		return nil, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var members []Presence
	for user, s := range r.present.here {
		members = append(members, Presence{User: user, Since: s.since})
	}
	slices.SortFunc(members, func(a, b Presence) int { return strings.Compare(a.User, b.User) })
	return members, nil
}
