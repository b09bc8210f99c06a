package room

import (
	"sync"
	"time"

	chatpb "securechat/proto/chat"
)

// room is what a hub knows of a room. One mutex guards it; nobody holds it while
// calling the log or the cluster, nor waits with it. What the log has and what
// members see meet in tail: everything up to it has been published, in order.
type room struct {
	hub *Hub
	key Key

	// ready is closed when the room has been loaded, or has failed to with failed.
	ready  chan struct{}
	failed error

	// Guarded by the hub's mu: how many hold the room, and since when nobody does.
	holders int
	idle    time.Time

	mu     sync.Mutex
	loaded bool   // the room has been found in the log
	tail   uint64 // the newest sequence known, 0 if the log had none of the room
	// floor is a sequence of the log up to which it had nothing of the room after
	// tail when the room was loaded, or was compared with it last. lost is one before
	// which the room may have had entries, if it had none left then.
	floor, lost uint64
	// reached is not before any position that a member has come with or was given.
	reached uint64
	// lacks is since when the log has been seen to have less of the room than tail.
	lacks time.Time
	// begun counts how often the room has begun anew, with less than was known.
	begun uint64
	// heard is the newest sequence that another node has told of. Where it is
	// beyond tail the log has what is in between.
	heard uint64
	// appending says that an append of this node has entries of the room under
	// way: what the log has after tail may be this node's own.
	appending bool
	pending   int // posts that have not been settled
	// doubtful says that an append of this node's may yet be stored, since none has
	// been after it, which would keep it out.
	doubtful bool
	// identified says that the index is complete, indexing that it is being read.
	identified bool
	indexing   *indexing
	index      index
	ring       ring
	members    []*Member
	// slowest is not after any position of those who read the ring.
	slowest uint64
	lagging int // how many members are lapped
	// wake is closed when something has happened; nil while nobody waits for it.
	wake    chan struct{}
	present presence
	leaving int // users in it who are about to be told to have left
	// beatHead is the ring's head at the keeper's last look, and still for how
	// many looks it has been that.
	beatHead uint64
	still    int
	stops    []func()  // of what the cluster delivers
	asked    time.Time // when the other nodes were asked for their users; set by load
}

func newRoom(h *Hub, key Key) *room {
	return &room{
		hub:   h,
		key:   key,
		ready: make(chan struct{}),
		ring:  ring{limit: h.config.Queue, limitBytes: h.config.QueueBytes, all: &h.held},
	}
}

// broadcast wakes everybody who waits for the room. With mu.
func (r *room) broadcast() {
	if r.wake != nil {
		close(r.wake)
		r.wake = nil
	}
}

// awoken returns what the next broadcast closes. With mu.
func (r *room) awoken() <-chan struct{} {
	if r.wake == nil {
		r.wake = make(chan struct{})
	}
	return r.wake
}

// publish adds a message that follows tail. With mu; broadcast comes after.
func (r *room) publish(entry Entry) {
	if entry.Sequence <= r.reached {
		r.regress(entry.Sequence)
	}
	if r.tail == 0 && r.ring.evicted == 0 {
		r.begins(&entry)
	}
	r.tail = entry.Sequence
	r.know(&entry)
	r.tell(&Event{Kind: chatpb.Kind_MESSAGE, Entry: entry})
}

// begins notes that the members have missed nothing before an entry, the first of a
// room that had none when they came: what the log says of that is how much it has
// discarded of all rooms. With mu.
func (r *room) begins(entry *Entry) {
	for _, m := range r.members {
		m.last = max(m.last, entry.Sequence-1)
	}
}

// regress is for a sequence that the log gives anew, since it has lost its end: the
// members that are beyond it would take what comes for what they have had. With mu.
func (r *room) regress(sequence uint64) {
	for _, m := range r.members {
		if max(m.last, m.floor) >= sequence {
			m.finish(errRegressed)
			m.owed = nil
		}
	}
	r.reached, r.floor = sequence-1, min(r.floor, sequence-1)
}

// know makes an entry findable by its id, once anybody looks for ids. With mu.
func (r *room) know(entry *Entry) {
	if entry.ID != "" && (r.identified || r.indexing != nil) {
		r.index.add(r.hub.config.hash(entry.User, entry.ID), entry.Sequence)
	}
}

// tell adds an event for everybody, and sees who has not read what it evicts. With
// mu; broadcast comes after.
func (r *room) tell(e *Event) {
	if len(r.members) == 0 {
		// Nobody is behind: what comes later is read from the log.
		r.ring.clear()
		if e.Kind == chatpb.Kind_MESSAGE {
			r.ring.evicted = e.Entry.Sequence
		}
		return
	}
	if e.Kind == chatpb.Kind_MESSAGE {
		r.encode(e)
	}
	r.ring.push(e)
	if r.ring.base > r.slowest {
		r.overtake()
	}
}

// overtake finds out who is the slowest, and whom the ring has lapped: these read
// from the log until they have caught up, those that were live for as long as
// Config.Lag. It looks at all members, but only once a ring's length for members
// that keep up.
func (r *room) overtake() {
	r.slowest = r.ring.head
	for _, m := range r.members {
		if !m.reading {
			continue
		}
		if m.position >= r.ring.base {
			r.slowest = min(r.slowest, m.position)
			continue
		}
		m.lap()
	}
}

// cutSlow cuts the members that have not caught up in time, at each beat. Time is
// counted in beats: while the process is held up, stopped for example, there are none,
// and none of that time is the members'. With mu.
func (r *room) cutSlow() {
	if r.lagging == 0 {
		return
	}
	for _, m := range r.members {
		if m.lapped == 0 {
			continue
		}
		if since := time.Duration(m.lapped-1) * beat; since < r.hub.config.Lag { // the first beat came at once, perhaps
			m.lapped++
			continue
		}
		r.hub.counts.slow.Add(1)
		m.finish(ErrSlow)
		if m.onCut != nil {
			m.onCut()
		}
	}
}

// encode makes, once for all, what members are sent of a message. With mu.
func (r *room) encode(e *Event) {
	sent := e.Entry
	sent.Traceparent = r.hub.delivering(&e.Entry, len(r.members))
	wire, err := AppendMessage(nil, &sent)
	if err != nil { // neither Post nor a log lets such a message in
		r.hub.config.Logger.Error("a message cannot be encoded", "sequence", e.Entry.Sequence, "error", err)
	}
	e.Wire, e.Shared = wire, &Shared{}
}

// close ends every member.
func (r *room) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.members {
		m.finish(ErrClosed)
	}
	r.broadcast()
}
