package auth

import (
	"path"
	"slices"
	"strings"
)

// pairSign begins the names of rooms that are for two users, and the globs that
// open them.
const pairSign = "@"

// MayOpen says whether the token opens the room of that name: whether one of its
// globs matches. A token without globs opens none.
func (id Identity) MayOpen(room string) bool {
	return slices.ContainsFunc(id.Rooms, func(glob string) bool { return MatchRoom(glob, room) })
}

// MatchRoom says whether a glob matches a room's name. A glob is as path.Match
// has it, with two differences. A slash is a character like any other. And names
// that begin with "@", which are those of rooms for two, are matched only by
// globs that begin with it: "*" stands for all the others. A glob that is
// malformed matches nothing.
func MatchRoom(glob, room string) bool {
	if forPairs(glob) != forPairs(room) {
		return false
	}
	matches, err := path.Match(slashless(glob), slashless(room))
	return matches && err == nil
}

func forPairs(glob string) bool { return strings.HasPrefix(glob, pairSign) }

// slashless puts something in the place of slashes that no name has.
func slashless(text string) string { return strings.ReplaceAll(text, "/", "\x00") }
