package room

import "sync/atomic"

// ring has a room's recent events, once for all members, who read it at
// positions of their own. Positions count the room's events from 0.
type ring struct {
	limit, limitBytes int
	all               *allowance

	slots      []*Event // its length is a power of two: the event at p is in p mod it
	base, head uint64   // the positions kept: base to before head
	bytes      int
	// evicted is the sequence of the newest message that the ring has no more: it
	// has every message of the room that came after.
	evicted uint64
}

// eventOverhead is about what an event takes beside its texts, in bytes.
const eventOverhead = 256

// allowance is what the rings of all rooms may hold together.
type allowance struct {
	limit int64
	bytes atomic.Int64
}

// scarce says whether they hold more, tight whether it is more than half of that.
func (a *allowance) scarce() bool { return a.bytes.Load() > a.limit }
func (a *allowance) tight() bool  { return a.bytes.Load() > a.limit/2 }

// scarcity is by how much less each ring may hold while all hold too much.
const scarcity = 16

// weight is what an event counts in the ring's bytes: what a member is sent. With
// the text, which the event has beside its encoding, and the form of that which
// members share, it takes up to three times that.
func weight(e *Event) int { return eventOverhead + len(e.Wire) + len(e.User) }

// push appends an event and evicts what is beyond the limits, but never the event
// itself. Events are not changed afterwards.
func (r *ring) push(e *Event) {
	if r.head-r.base == uint64(len(r.slots)) {
		r.grow()
	}
	*r.slot(r.head) = e
	r.head++
	r.hold(weight(e))
	for r.base+1 < r.head && (r.head-r.base > uint64(r.limit) || r.bytes > r.most()) {
		r.evict()
	}
}

func (r *ring) hold(bytes int) {
	r.bytes += bytes
	r.all.bytes.Add(int64(bytes))
}

func (r *ring) most() int {
	if r.all.scarce() {
		return r.limitBytes / scarcity
	}
	return r.limitBytes
}

func (r *ring) evict() {
	slot := r.slot(r.base)
	e := *slot
	*slot = nil
	r.base++
	r.hold(-weight(e))
	r.evicted = max(r.evicted, e.Entry.Sequence)
}

// clear evicts everything and gives its memory back.
func (r *ring) clear() {
	for r.base < r.head {
		r.evict()
	}
	r.slots = nil
}

func (r *ring) slot(position uint64) **Event {
	return &r.slots[position&uint64(len(r.slots)-1)]
}

func (r *ring) at(position uint64) *Event { return *r.slot(position) }

func (r *ring) grow() {
	old := *r
	r.slots = make([]*Event, max(8, 2*len(old.slots)))
	for p := old.base; p < old.head; p++ {
		*r.slot(p) = old.at(p)
	}
}

// message returns the message of a sequence if the ring has it, the newest first
// being looked at.
func (r *ring) message(sequence uint64) (*Entry, bool) {
	for p := r.head; p > r.base; p-- {
		e := r.at(p - 1)
		if e.Entry.Sequence == sequence && sequence != 0 {
			return &e.Entry, true
		}
	}
	return nil, false
}
