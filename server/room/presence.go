package room

import (
	"slices"
	"strings"
	"time"
)

// presence is who is in a room, on this node and on the others.
type presence struct {
	here  map[string]*sessions
	peers map[string]*peer // by node
	// told has the users of whom members were told JOINED and not LEFT yet.
	told map[string]*told
	// typed is when users were last said to be typing.
	typed map[string]time.Time
}

// sessions are a user's on this node.
type sessions struct {
	count int
	since time.Time
}

// peer is another node's users.
type peer struct {
	number uint64 // of the note that users is from
	users  map[string]time.Time
	silent int // beats since it was heard
	// parts are what has come of a list that is not complete.
	parts *parts
}

// parts is a list of users that comes in several notes of one number.
type parts struct {
	number uint64
	lists  [][]noteUser
	left   int
}

// told is a user whose coming was told.
type told struct {
	since time.Time
	// leaves is at how many beats from now LEFT will be told unless the user is back; 0
	// while here.
	leaves int
}

// maxPeers bounds the nodes of a room.
const maxPeers = 1024

// enter notes a session here.
func (p *presence) enter(user string, now time.Time) {
	s := p.here[user]
	if s == nil {
		if p.here == nil {
			p.here = map[string]*sessions{}
		}
		s = &sessions{since: now}
		p.here[user] = s
	}
	s.count++
}

// exit notes a session's end, and reports whether it was the user's last here.
func (p *presence) exit(user string) bool {
	s := p.here[user]
	s.count--
	if s.count > 0 {
		return false
	}
	delete(p.here, user)
	return true
}

// anywhere returns since when a user is here or on another node.
func (p *presence) anywhere(user string) (since time.Time, ok bool) {
	if s := p.here[user]; s != nil {
		since, ok = s.since, true
	}
	for _, other := range p.peers {
		if at, has := other.users[user]; has && (!ok || at.Before(since)) {
			since, ok = at, true
		}
	}
	return since, ok
}

// list takes in another node's list of users, or a part of one, and returns those
// who have come or gone with it.
func (p *presence) list(n *note) (changed []string) {
	other := p.peers[n.Node]
	if other == nil {
		if len(p.peers) >= maxPeers {
			return nil
		}
		if p.peers == nil {
			p.peers = map[string]*peer{}
		}
		other = &peer{}
		p.peers[n.Node] = other
	}
	if n.Number < other.number || n.Number == other.number && other.number > 0 {
		return nil // overtaken, or a repetition
	}
	other.silent = 0
	users, whole := other.assemble(n)
	if !whole {
		return nil
	}
	before := other.users
	other.number, other.users, other.parts = n.Number, users, nil
	for user := range before {
		if _, still := users[user]; !still {
			changed = append(changed, user)
		}
	}
	for user := range users {
		if _, had := before[user]; !had {
			changed = append(changed, user)
		}
	}
	slices.Sort(changed)
	return changed
}

// assemble adds a part and returns the users once all parts have come.
func (o *peer) assemble(n *note) (map[string]time.Time, bool) {
	if o.parts == nil || o.parts.number < n.Number {
		o.parts = &parts{number: n.Number, lists: make([][]noteUser, n.Parts), left: n.Parts}
	}
	p := o.parts
	if n.Number < p.number || len(p.lists) != n.Parts || p.lists[n.Part] != nil {
		return nil, false
	}
	p.lists[n.Part] = append([]noteUser{}, n.Users...) // not nil
	if p.left--; p.left > 0 {
		return nil, false
	}
	users := map[string]time.Time{}
	for _, list := range p.lists {
		for _, u := range list {
			users[u.User] = time.UnixMilli(u.Since)
		}
	}
	return users, true
}

// expire forgets, at each beat, the nodes that have been silent for too long and returns
// their users.
func (p *presence) expire() (changed []string) {
	for node, other := range p.peers {
		if other.silent++; other.silent < silentBeats {
			continue
		}
		delete(p.peers, node)
		for user := range other.users {
			changed = append(changed, user)
		}
	}
	slices.Sort(changed)
	return slices.Compact(changed)
}

// byName returns all users that are here or on another node.
func (p *presence) byName() []Presence {
	users := map[string]bool{}
	for user := range p.here {
		users[user] = true
	}
	for _, other := range p.peers {
		for user := range other.users {
			users[user] = true
		}
	}
	members := make([]Presence, 0, len(users))
	for user := range users {
		since, _ := p.anywhere(user)
		members = append(members, Presence{User: user, Since: since})
	}
	return sorted(members)
}

// toldByName returns the users of whom members know.
func (p *presence) toldByName() []Presence {
	members := make([]Presence, 0, len(p.told))
	for user, t := range p.told {
		members = append(members, Presence{User: user, Since: t.since})
	}
	return sorted(members)
}

func sorted(members []Presence) []Presence {
	slices.SortFunc(members, func(a, b Presence) int { return strings.Compare(a.User, b.User) })
	return members
}
