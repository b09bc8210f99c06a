package auth

import (
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

// MatchRoom says whether a glob (see CheckGlob) matches a room's name, with one
// difference from MatchGlob: names that begin with "@", which are those of rooms
// for two, are matched only by globs that begin with it. "*" stands for all the
// others.
func MatchRoom(glob, room string) bool {
	return forPairs(glob) == forPairs(room) && MatchGlob(glob, room)
}

func forPairs(glob string) bool { return strings.HasPrefix(glob, pairSign) }
