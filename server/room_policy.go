package server

import (
	"log/slog"
	"strings"

	"securechat/auth"
)

// A RoomPolicy says who may open which room, on top of what their tokens allow:
// both must. It is immutable, and a nil one forbids nothing. ParseRoomPolicy makes
// one.
type RoomPolicy struct {
	rooms    map[string]members // of the rooms named as they are
	globs    []openRooms        // and of those named by globs
	expelled map[string]roomSet // by user
}

// openRooms are the rooms that match a glob, which are open to the members.
type openRooms struct {
	glob    glob
	members members
}

// A glob is one of auth.CheckGlob, with the text that each name it matches begins
// with and ends with. All live streams are held against all globs when the policy
// changes, and most of them match only what begins or ends in its own way.
type glob struct{ text, head, tail string }

func newGlob(text string) glob {
	head, tail := strings.IndexAny(text, `*?[\`), strings.LastIndexAny(text, `*?]\`)
	if head < 0 {
		head = len(text)
	}
	return glob{text: text, head: text[:head], tail: text[tail+1:]}
}

func (g glob) matches(room string) bool {
	return strings.HasPrefix(room, g.head) && strings.HasSuffix(room, g.tail) && auth.MatchGlob(g.text, room)
}

// members are the users to whom a room is open.
type members struct {
	everyone bool
	users    map[string]struct{}
}

func (m members) has(user string) bool {
	_, listed := m.users[user]
	return m.everyone || listed
}

// A roomSet is rooms, named as they are or by globs.
type roomSet struct {
	names map[string]struct{}
	globs []glob
}

// Allows says whether the user may open the room. The room is named as the user
// names it, but never escaped: @bob is the pair of the user and bob.
//
// It is open to those whom a line of the policy for it lists, to everybody where
// there is no such line, and never to those who are expelled from it.
func (p *RoomPolicy) Allows(user, room string) bool {
	if p == nil {
		return true
	}
	if expelled, ok := p.expelled[user]; ok && expelled.has(room) {
		return false
	}
	members, listed := p.rooms[room]
	if listed && members.has(user) {
		return true
	}
	for _, open := range p.globs {
		if open.glob.matches(room) {
			listed = true
			if open.members.has(user) {
				return true
			}
		}
	}
	return !listed
}

func (s roomSet) has(room string) bool {
	if _, named := s.names[room]; named {
		return true
	}
	for _, glob := range s.globs {
		if glob.matches(room) {
			return true
		}
	}
	return false
}

// LogValue is how much the policy has, for the log; who is in it is not.
func (p *RoomPolicy) LogValue() slog.Value {
	expulsions := 0
	if p == nil {
		return slog.StringValue("none")
	}
	for _, rooms := range p.expelled {
		expulsions += len(rooms.names) + len(rooms.globs)
	}
	return slog.GroupValue(slog.Int("rooms", len(p.rooms)+len(p.globs)), slog.Int("expulsions", expulsions))
}
