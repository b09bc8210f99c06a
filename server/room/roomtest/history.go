package roomtest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
)

// Message is what a reader of a room is sent.
type Message struct {
	Sequence       uint64
	User, ID, Text string
}

// History records what is said and read in one room, and checks that it is what
// the package promises. Its methods, and those of its readers, may be called
// concurrently.
//
// Every post has an id, which is its user's for this text alone.
type History struct {
	mu           sync.Mutex
	posts        map[postID]string   // their texts
	order        map[string][]postID // by sender, as first posted
	acknowledged map[postID]uint64
	readers      []*Reader
	broken       []error // what was wrong when it was recorded
}

type postID struct{ user, id string }

// NewHistory returns an empty history.
func NewHistory() *History {
	return &History{
		posts:        map[postID]string{},
		order:        map[string][]postID{},
		acknowledged: map[postID]uint64{},
	}
}

// Posting notes that something is about to be posted, for the first time or again.
// A sender's posts are stored in the order in which they were first posted; a user
// may be several senders.
func (h *History) Posting(sender, user, id, text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := postID{user, id}
	before, again := h.posts[p]
	switch {
	case !again:
		h.posts[p] = text
		h.order[sender] = append(h.order[sender], p)
	case before != text:
		h.mark("the test posts %v twice, with different texts", p)
	}
}

// Acknowledged notes an acknowledgement. A post that was posted again may get
// several.
func (h *History) Acknowledged(user, id string, sequence uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := postID{user, id}
	if _, posted := h.posts[p]; !posted {
		h.mark("%v is acknowledged and was never posted", p)
	}
	if before, again := h.acknowledged[p]; again && before != sequence {
		h.mark("%v is acknowledged at %d and at %d", p, before, sequence)
	}
	h.acknowledged[p] = sequence
}

// mark records what is wrong. With mu.
func (h *History) mark(format string, args ...any) {
	h.broken = append(h.broken, fmt.Errorf(format, args...))
}

// A Reader is somebody who reads the room from a position on, over as many
// sessions as it takes.
type Reader struct {
	history *History
	name    string
	after   uint64
	until   uint64
	saw     []Message
}

// Reader returns a reader of what comes after a sequence.
func (h *History) Reader(name string, after uint64) *Reader {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := &Reader{history: h, name: name, after: after, until: after}
	h.readers = append(h.readers, r)
	return r
}

// Saw notes a message that the reader was sent, or that of its own which was
// acknowledged at its place.
func (r *Reader) Saw(m Message) {
	r.history.mu.Lock()
	defer r.history.mu.Unlock()
	if m.Sequence <= r.until {
		r.history.mark("%s is sent %d after %d", r.name, m.Sequence, r.until)
	}
	r.until = max(r.until, m.Sequence)
	r.saw = append(r.saw, m)
}

// Cursor returns the sequence up to which the reader has seen everything.
func (r *Reader) Cursor() uint64 {
	r.history.mu.Lock()
	defer r.history.mu.Unlock()
	return r.until
}

// Newest returns the newest sequence that was acknowledged.
func (h *History) Newest() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	var newest uint64
	for _, sequence := range h.acknowledged {
		newest = max(newest, sequence)
	}
	return newest
}

// Check returns what is wrong, nil if nothing is: every acknowledged message is in
// the room exactly once and no other more than once, and somebody has read as far as
// the last; nothing is there that was not posted; all readers are sent the same in the same order, without a hole between
// where they began and the last that they saw; and each sender's messages are in
// the order in which they were posted.
func (h *History) Check() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	broken := slices.Clone(h.broken)
	fail := func(format string, args ...any) { broken = append(broken, fmt.Errorf(format, args...)) }

	room := map[uint64]Message{} // all that anybody has seen
	at := map[postID]uint64{}
	for p, sequence := range h.acknowledged {
		m := Message{sequence, p.user, p.id, h.posts[p]}
		if other, taken := room[sequence]; taken {
			fail("%d is acknowledged for %v and for %v", sequence, other, m)
		}
		room[sequence], at[p] = m, sequence
	}
	furthest := uint64(0)
	for _, r := range h.readers {
		furthest = max(furthest, r.until)
		for _, m := range r.saw {
			p := postID{m.User, m.ID}
			if text, posted := h.posts[p]; !posted || text != m.Text {
				fail("%s is sent %v, which nobody posted", r.name, m)
			}
			if other, seen := room[m.Sequence]; seen && other != m {
				fail("%d is %v, and %v for %s", m.Sequence, other, m, r.name)
			}
			if before, seen := at[p]; seen && before != m.Sequence {
				fail("%v is stored at %d and at %d", p, before, m.Sequence)
			}
			room[m.Sequence], at[p] = m, m.Sequence
		}
	}
	for p, sequence := range h.acknowledged {
		if sequence > furthest {
			fail("%v is acknowledged at %d, and nobody has read further than %d", p, sequence, furthest)
		}
	}
	for _, r := range h.readers {
		seen := map[uint64]bool{}
		for _, m := range r.saw {
			seen[m.Sequence] = true
		}
		for sequence := range room {
			if sequence > r.after && sequence <= r.until && !seen[sequence] {
				fail("%s has read from %d to %d and was not sent %d", r.name, r.after, r.until, sequence)
			}
		}
	}
	for sender, posts := range h.order {
		last := uint64(0)
		for _, p := range posts {
			sequence, stored := at[p]
			if stored && sequence <= last {
				fail("%s posted %v after what is at %d, and it is at %d", sender, p, last, sequence)
			}
			last = max(last, sequence)
		}
	}
	return errors.Join(broken[:min(len(broken), 20)]...)
}
