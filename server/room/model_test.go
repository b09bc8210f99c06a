package room_test

import (
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	chatpb "securechat/proto/chat"
	"securechat/server/room"
	"securechat/server/room/roomtest"
)

// model is a room as it should be: a list of entries, of which the first are
// discarded, and sessions that each have had a prefix of what they are owed.
type model struct {
	log      *roomtest.Memory
	hub      *room.Hub
	entries  []room.Entry
	kept     int // the place of the first entry that is
	sessions []*modelled
}

// modelled is a session and what the model knows of it.
type modelled struct {
	*session
	user   string
	next   int // the place of the entry that it gets next
	target int // LIVE does not come before these entries
	live   bool
}

const modelQueue = 12

func (m *model) start(t *testing.T) {
	m.hub = room.New(room.Config{Log: m.log, Queue: modelQueue})
}

func (m *model) restart(t *rapid.T, tt *testing.T) {
	m.stop(tt)
	m.start(tt)
}

func (m *model) stop(t *testing.T) {
	for _, s := range m.sessions {
		s.Leave()
	}
	m.sessions = nil
	closeHub(t, m.hub)
}

func (m *model) pick(t *rapid.T) *modelled {
	if len(m.sessions) == 0 {
		t.Skip("nobody is there")
	}
	return m.sessions[rapid.IntRange(0, len(m.sessions)-1).Draw(t, "session")]
}

// sequence of the entry before a place.
func (m *model) before(place int) uint64 {
	if place == 0 {
		return 0
	}
	return m.entries[place-1].Sequence
}

func (m *model) join(t *rapid.T, tt *testing.T) {
	s := &modelled{user: fmt.Sprint("user", rapid.IntRange(0, 2).Draw(t, "user")), next: len(m.entries), target: len(m.entries)}
	from := live
	if rapid.Bool().Draw(t, "replay") {
		s.next = rapid.IntRange(0, len(m.entries)).Draw(t, "after")
		from = after(m.before(s.next))
	}
	member, err := m.hub.Join(t.Context(), "ops", s.user, from)
	var gone *room.GoneError
	switch {
	case errors.As(err, &gone):
		if s.next >= m.kept {
			t.Fatalf("after %d: %v", from.After, err)
		}
		return
	case err != nil:
		t.Fatal(err)
	}
	// The hub may still have what the log has discarded.
	s.session = &session{t: tt, Member: member}
	m.sessions = append(m.sessions, s)
}

// step reads an event of a session, and reports false when it has none.
func (m *model) step(t *rapid.T, s *modelled) bool {
	if s.live && s.next == len(m.entries) {
		return false
	}
	e, err := s.session.next()
	var gone *room.GoneError
	if errors.Is(err, room.ErrSlow) || errors.As(err, &gone) {
		if errors.Is(err, room.ErrSlow) && (!s.live || len(m.entries)-s.next == 0) || gone != nil && s.next >= m.kept {
			t.Fatalf("%s, at %d of %d: %v", s.user, s.next, len(m.entries), err)
		}
		m.remove(s)
		return false
	}
	if err != nil {
		t.Fatalf("%s, live %v, at %d of %d, target %d, %d kept: %v", s.user, s.live, s.next, len(m.entries), s.target, m.kept, err)
	}
	switch e.Kind {
	case chatpb.Kind_LIVE:
		// All before the target have been read, or are discarded.
		if s.live || s.next < s.target && (s.next > 0 || s.target > m.kept) {
			t.Fatalf("LIVE at %d, live %v, target %d", s.next, s.live, s.target)
		}
		s.live = true
		for beginning := s.next == 0; beginning && s.next < m.kept && m.entries[s.next].Sequence <= e.Sequence; {
			s.next++
		}
	case chatpb.Kind_MESSAGE, chatpb.Kind_ACKNOWLEDGEMENT:
		// From the beginning of what is kept on, some may be discarded.
		if s.next == 0 {
			for s.next < m.kept && m.entries[s.next].Sequence < e.Entry.Sequence {
				s.next++
			}
		}
		want := m.entries[s.next]
		if e.Entry.Sequence != want.Sequence || e.Entry.Text != want.Text || e.Entry.User != want.User {
			t.Fatalf("%s gets %+v, want %+v", s.user, e.Entry, want)
		}
		s.next++
	}
	return true
}

func (m *model) remove(s *modelled) {
	s.Leave()
	for i := range m.sessions {
		if m.sessions[i] == s {
			m.sessions = append(m.sessions[:i], m.sessions[i+1:]...)
			return
		}
	}
}

// post posts and reads up to the acknowledgement.
func (m *model) post(t *rapid.T) {
	s := m.pick(t)
	for m.step(t, s) {
	}
	if !s.live {
		return // it has gone
	}
	id := fmt.Sprint(rapid.IntRange(0, 5).Draw(t, "id"))
	text := fmt.Sprint("text ", len(m.entries))
	if err := s.Post(t.Context(), room.Posting{ID: id, Text: text}); err != nil {
		if errors.Is(err, room.ErrSlow) {
			m.remove(s)
			return
		}
		t.Fatal(err)
	}
	for {
		e, err := s.session.next()
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind != chatpb.Kind_ACKNOWLEDGEMENT {
			continue // presence
		}
		for place, stored := range m.entries {
			if stored.User == s.user && stored.ID == id && place >= m.kept {
				if e.Entry.Sequence != stored.Sequence || e.Entry.Text != stored.Text {
					t.Fatalf("acknowledged %+v, want %+v", e.Entry, stored)
				}
				return
			}
		}
		if e.Entry.Text != text {
			if e.Entry.ID == id && e.Entry.User == s.user {
				return // discarded from the log, and remembered by the hub
			}
			t.Fatalf("acknowledged %+v, want %q", e.Entry, text)
		}
		if e.Entry.Sequence <= m.before(len(m.entries)) {
			t.Fatalf("acknowledged at %d after %d", e.Entry.Sequence, m.before(len(m.entries)))
		}
		m.entries = append(m.entries, e.Entry)
		s.next = len(m.entries)
		return
	}
}

func (m *model) discard(t *rapid.T) {
	m.kept = rapid.IntRange(m.kept, len(m.entries)).Draw(t, "discard")
	m.log.DiscardBefore(m.before(m.kept) + 1)
}

// Whatever is done, in any order, members are sent what the model says.
func TestARoomIsWhatTheModelSays(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := &model{log: roomtest.NewMemory()}
		m.start(t)
		defer func() { m.stop(t) }()
		rt.Repeat(map[string]func(*rapid.T){
			"join":    func(rt *rapid.T) { m.join(rt, t) },
			"post":    m.post,
			"post2":   m.post,
			"read":    func(rt *rapid.T) { m.step(rt, m.pick(rt)) },
			"leave":   func(rt *rapid.T) { m.remove(m.pick(rt)) },
			"discard": m.discard,
			"restart": func(rt *rapid.T) { m.restart(rt, t) },
		})
		for len(m.sessions) > 0 {
			s := m.sessions[0]
			for m.step(rt, s) {
			}
			m.remove(s)
		}
	})
}
