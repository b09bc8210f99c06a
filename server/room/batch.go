package room

import (
	"context"
	"errors"
	"time"
)

// batch is one attempt to store posts: of any rooms, in the order in which they
// were posted.
type batch struct {
	hub   *Hub
	posts []*post

	rooms  []*share // each room of the posts once
	drafts []Draft
	first  uint64 // the sequence of the first draft
	// draft has, for each post, the place of its draft, or of the draft that it is
	// a duplicate of; -1 for a post that was stored before, or is dropped.
	draft []int
	own   []bool // the post's draft is its own
}

// share is what a batch has of a room.
type share struct {
	room     *room
	posts    []int // their places
	expected uint64
}

// identified is a message as its author knows it.
type identified struct {
	room     *room
	user, id string
}

// plan makes the drafts. From then on nobody but this batch publishes what the
// log gets in these rooms, until settle, fail or catchUp.
func (b *batch) plan() error {
	b.draft, b.own = make([]int, len(b.posts)), make([]bool, len(b.posts))
	shares := b.share()
	seen := map[identified]int{}
	at := b.hub.config.Now().Truncate(time.Millisecond).UTC()
	for i, p := range b.posts {
		b.draft[i] = -1
		if p.ID != "" && p.duplicate == nil {
			if err := p.member.room.check(b.hub.life, p); err != nil {
				return err
			}
		}
		if p.duplicate != nil || p.member.failed() {
			continue
		}
		same := identified{p.member.room, p.member.user, p.ID}
		if place, has := seen[same]; has && p.ID != "" {
			b.draft[i] = place
			continue
		}
		b.draft[i], b.own[i] = len(b.drafts), true
		seen[same] = len(b.drafts)
		b.drafts = append(b.drafts, Draft{
			Entry: Entry{
				Room: p.member.room.key, User: p.member.user, ID: p.ID, Text: p.Text, Time: at,
				Traceparent: p.traceparent,
			},
			Expected: shares[p.member.room].expected,
		})
	}
	return nil
}

// share divides the posts by room.
func (b *batch) share() map[*room]*share {
	shares := map[*room]*share{}
	for i, p := range b.posts {
		r := p.member.room
		s := shares[r]
		if s == nil {
			s = &share{room: r}
			shares[r] = s
			b.rooms = append(b.rooms, s)
			r.mu.Lock()
			r.appending = true
			s.expected = r.tail
			r.mu.Unlock()
		}
		s.posts = append(s.posts, i)
	}
	return shares
}

// catchUp reads what other nodes have written to the batch's rooms.
func (b *batch) catchUp(ctx context.Context) error {
	for _, s := range b.rooms {
		if err := s.room.catchUpAppending(ctx); err != nil {
			return err
		}
	}
	b.end()
	return nil
}

// errDropped says that a post was not stored since one before it could not be.
var errDropped = errors.New("room: a message before it could not be stored")

// settle publishes what has been stored, and owes each post its acknowledgement.
func (b *batch) settle() {
	for i := range b.drafts {
		b.drafts[i].Sequence = b.first + uint64(i)
	}
	b.hub.counts.posts.Add(uint64(len(b.drafts)))
	if len(b.drafts) > 0 {
		b.hub.counts.appends.Add(1)
	}
	for i, p := range b.posts { // before their delivery begins
		if b.draft[i] < 0 && p.duplicate == nil {
			p.stored(errDropped)
		} else {
			p.stored(nil)
		}
	}
	for _, s := range b.rooms {
		b.settleRoom(s)
	}
	b.end()
}

func (b *batch) settleRoom(s *share) {
	r := s.room
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, i := range s.posts {
		p := b.posts[i]
		r.pending--
		switch {
		case b.own[i]:
			entry := b.drafts[b.draft[i]].Entry
			entry.Previous = r.tail
			p.member.owes(owed{sequence: entry.Sequence, weight: p.weight})
			r.publish(entry)
			r.doubtful = false
		case p.duplicate != nil:
			b.hub.counts.duplicates.Add(1)
			p.member.owes(owed{weight: p.weight, duplicate: p.duplicate})
		case b.draft[i] >= 0:
			b.hub.counts.duplicates.Add(1)
			entry := b.drafts[b.draft[i]].Entry
			p.member.owes(owed{weight: p.weight, duplicate: &entry})
		}
	}
	r.broadcast()
}

// without takes a room out of the batch of which the log has less than is known, and
// returns the posts of the others. Everybody in the room ends, and what there is of
// it is found out anew.
func (b *batch) without(behind *BehindError) (left []*post) {
	taken := &batch{hub: b.hub}
	for _, p := range b.posts {
		if p.member.room.key == behind.Room {
			taken.posts = append(taken.posts, p)
		} else {
			left = append(left, p)
		}
	}
	if len(taken.posts) > 0 {
		if err := taken.posts[0].member.room.restart(b.hub.life, behind, true); err != nil {
			b.hub.config.Logger.Warn("a room could not be found in the log again", "error", err)
		}
	}
	taken.fail(behind)
	b.end()
	return left
}

// fail ends the members whose posts could not be stored. What had been stored
// before and was posted earlier is acknowledged.
func (b *batch) fail(cause error) {
	reason := b.hub.unavailable(cause)
	for _, p := range b.posts {
		r := p.member.room
		p.stored(cause)
		r.mu.Lock()
		r.pending--
		if p.duplicate != nil {
			p.member.owes(owed{weight: p.weight, duplicate: p.duplicate})
		} else {
			p.member.broken = true
			p.member.finish(reason)
		}
		r.broadcast()
		r.mu.Unlock()
	}
	b.hub.config.Logger.Warn("messages could not be stored", "messages", len(b.posts), "error", cause)
	b.end()
	if errors.Is(cause, ErrInDoubt) {
		for _, s := range b.rooms {
			s.room.doubts()
		}
	}
}

// end lets others publish what the log gets in the batch's rooms, and has what
// other nodes have told of meanwhile read.
func (b *batch) end() {
	for _, s := range b.rooms {
		r := s.room
		r.mu.Lock()
		r.appending = false
		behind := r.heard > r.tail
		r.mu.Unlock()
		if behind {
			b.hub.read(r)
		}
	}
}

// owes adds an acknowledgement for the member, unless it has ended. With the
// room's mu.
func (m *Member) owes(o owed) {
	if m.ended == nil {
		m.owed = append(m.owed, o)
	}
}

// failed says that a post of the member could not be stored, so that none after
// it may be.
func (m *Member) failed() bool {
	m.room.mu.Lock()
	defer m.room.mu.Unlock()
	return m.broken || m.begun != m.room.begun
}
