package room_test

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"securechat/server/room"
	"securechat/server/room/roomtest"
)

func TestAPostThatCannotBeStoredEndsItsMember(t *testing.T) {
	hub, log := memoryHub(t)
	alice := joinLive(t, hub, "ops", "alice")
	bob := joinLive(t, hub, "ops", "bob")
	alice.want("JOINED bob")
	alice.post("1", "stored")
	bob.want("alice: stored")
	cause := errors.New("the disk is full")
	log.Fail(cause)
	alice.post("2", "lost")
	// What was stored before is acknowledged; what is posted afterwards is not stored.
	alice.want("ack stored")
	alice.wantEnd(room.ErrUnavailable)
	alice.wantEnd(cause)
	if err := alice.Post(t.Context(), room.Posting{ID: "3", Text: "after"}); !errors.Is(err, room.ErrUnavailable) {
		t.Errorf("Post: %v", err)
	}
	alice.Leave()
	log.Fail(nil)

	// Those who posted nothing live on, and posting works again.
	alice = joinLive(t, hub, "ops", "alice")
	alice.post("2", "now")
	alice.want("ack now")
	for range 3 { // bob may see alice leave and come
		e, err := bob.next()
		if err != nil {
			t.Fatal(err)
		}
		if show(e) == "alice: now" {
			break
		}
	}
	wantStored(t, log, "ops", "alice: stored", "alice: now")
}

// Nothing is acknowledged after it either, be it stored since long ago.
func TestNothingIsAcknowledgedAfterAPostThatCouldNotBeStored(t *testing.T) {
	hub, log := memoryHub(t)
	alice := joinLive(t, hub, "ops", "alice")
	bob := joinLive(t, hub, "other", "bob")
	alice.post("1", "1")
	alice.wantAck()
	release := log.HoldAppends()
	bob.post("", "holds up")
	alice.post("1", "before")
	alice.post("2", "fails")
	alice.post("1", "after")
	log.Fail(errors.New("the disk is full"))
	release()
	alice.want("ack 1")
	alice.wantEnd(room.ErrUnavailable)
}

func TestNothingIsStoredAfterAPostThatCouldNotBe(t *testing.T) {
	memory := roomtest.NewMemory()
	log := &failingOnce{Log: memory, begun: make(chan struct{}), release: make(chan struct{})}
	hub := newHub(t, room.Config{Log: log})
	alice := joinLive(t, hub, "ops", "alice")
	bob := joinLive(t, hub, "other", "bob")
	alice.post("", "1") // fails
	<-log.begun
	alice.post("", "2") // waits behind it
	bob.post("", "3")
	close(log.release)
	bob.wantAck()
	alice.wantEnd(room.ErrUnavailable)
	wantStored(t, memory, "ops")
	wantStored(t, memory, "other", "bob: 3")
}

// Nor is what somebody had posted who has left since: whoever comes back posts it
// again, in its order.
func TestNothingIsStoredAfterAPostOfOneWhoHasLeft(t *testing.T) {
	memory := roomtest.NewMemory()
	log := &failingOnce{Log: memory, begun: make(chan struct{}), release: make(chan struct{})}
	hub := newHub(t, room.Config{Log: log})
	alice := joinLive(t, hub, "ops", "alice")
	bob := joinLive(t, hub, "other", "bob")
	alice.post("1", "1") // fails
	<-log.begun
	alice.post("2", "2") // waits behind it
	alice.Leave()
	again := joinLive(t, hub, "ops", "alice")
	again.post("1", "1")
	again.post("2", "2")
	bob.post("", "3")
	close(log.release)
	bob.wantAck()
	again.wantAck()
	again.wantAck()
	wantStored(t, memory, "ops", "alice: 1", "alice: 2")
}

// failingOnce fails its first append once it is released.
type failingOnce struct {
	room.Log
	begun, release chan struct{}
	failed         atomic.Bool
}

func (l *failingOnce) Append(ctx context.Context, drafts []room.Draft) (uint64, error) {
	if l.failed.Swap(true) {
		return l.Log.Append(ctx, drafts)
	}
	close(l.begun)
	<-l.release
	return 0, room.ErrUnavailable
}

// A post that the log refuses for what it is fails no neighbour.
func TestARefusedPostFailsAlone(t *testing.T) {
	memory := roomtest.NewMemory()
	hub := newHub(t, room.Config{Log: refusingLog{memory}})
	alice := joinLive(t, hub, "ops", "alice")
	bob := joinLive(t, hub, "ops", "bob")
	release := memory.HoldAppends()
	bob.post("0", "0")
	bob.post("1", "1")
	alice.post("1", refused)
	alice.post("2", "2")
	bob.post("2", "2")
	release()
	bob.want("ack 0", "ack 1", "ack 2")
	alice.wantEnd(errRefused)
	wantStored(t, memory, "ops", "bob: 0", "bob: 1", "bob: 2")
}

// Nor does it have them stored one by one.
func TestARefusedPostLeavesItsNeighboursTogether(t *testing.T) {
	const members, posts = 4, 60
	memory := roomtest.NewMemory()
	hub := newHub(t, room.Config{Log: refusingLog{memory}})
	alice := joinLive(t, hub, "ops", "alice")
	bobs := make([]*session, members)
	for i := range bobs {
		bobs[i] = joinLive(t, hub, room.Key("room"+strconv.Itoa(i)), "bob")
	}
	release := memory.HoldAppends()
	for i := range posts {
		for _, bob := range bobs {
			bob.post("", strconv.Itoa(i))
		}
		if i == posts/2 {
			alice.post("", refused)
		}
	}
	release()
	for i := range posts {
		for _, bob := range bobs {
			bob.want("ack " + strconv.Itoa(i))
		}
	}
	alice.wantEnd(errRefused)
	if appends := hub.Stats().Appends; appends > 20 {
		t.Errorf("%d posts were stored by %d appends", members*posts, appends)
	}
}

const refused = "refused"

var errRefused = errors.New("too large")

// refusingLog refuses a text.
type refusingLog struct{ *roomtest.Memory }

func (l refusingLog) Append(ctx context.Context, drafts []room.Draft) (uint64, error) {
	for _, d := range drafts {
		if d.Text == refused {
			return 0, errRefused
		}
	}
	return l.Memory.Append(ctx, drafts)
}

// So it does in a contended room, in which order is kept.
func TestARefusedPostInAContendedRoom(t *testing.T) {
	const posts = 20
	memory := roomtest.NewMemory()
	log := &conflictingLog{Log: refusingLog{memory}}
	hub := newHub(t, room.Config{Log: log, Queue: 16}) // eight in a batch
	alice := joinLive(t, hub, "ops", "alice")
	bob := joinLive(t, hub, "ops", "bob")
	release := memory.HoldAppends()
	bob.post("", "the first")
	var texts, acks []string
	for i := range posts {
		bob.post("", strconv.Itoa(i))
		texts, acks = append(texts, "bob: "+strconv.Itoa(i)), append(acks, "ack "+strconv.Itoa(i))
		if i == 2 {
			alice.post("", refused)
		}
	}
	log.conflicts.Store(3)
	release()
	bob.want("ack the first")
	bob.want(acks...)
	alice.wantEnd(errRefused)
	wantStored(t, memory, "ops", append([]string{"bob: the first"}, texts...)...)
}

// conflictingLog has its next appends of several conflict.
type conflictingLog struct {
	room.Log
	conflicts atomic.Int64
}

func (l *conflictingLog) Append(ctx context.Context, drafts []room.Draft) (uint64, error) {
	if len(drafts) > 1 && l.conflicts.Add(-1) >= 0 {
		return 0, room.ErrConflict
	}
	return l.Log.Append(ctx, drafts)
}

func TestConflictsAreResolved(t *testing.T) {
	for _, conflicts := range []int{1, 2, 3, 10} {
		hub, log := memoryHub(t)
		alice := joinLive(t, hub, "ops", "alice")
		bob := joinLive(t, hub, "other", "bob")
		release := log.HoldAppends()
		alice.post("1", "1")
		bob.post("1", "1")
		alice.post("2", "2")
		bob.post("2", "2")
		log.Conflict(conflicts)
		release()
		alice.want("ack 1", "ack 2")
		bob.want("ack 1", "ack 2")
		wantStored(t, log, "ops", "alice: 1", "alice: 2")
		wantStored(t, log, "other", "bob: 1", "bob: 2")
		if got := hub.Stats().Conflicts; got < uint64(conflicts) {
			t.Errorf("%d conflicts counted, want %d", got, conflicts)
		}
	}
}

// Another node writes to the room behind the hub's back: what it wrote comes
// first, for all, and a message that it has stored already is not stored again.
func TestWhatAnotherNodeWroteIsSeenFirst(t *testing.T) {
	hub, log := memoryHub(t)
	alice := joinLive(t, hub, "ops", "alice")
	bob := joinLive(t, hub, "ops", "bob")
	alice.want("JOINED bob")
	first, err := log.Append(t.Context(), []room.Draft{
		{Entry: room.Entry{Room: "ops", User: "carol", ID: "1", Text: "from afar"}},
		{Entry: room.Entry{Room: "ops", User: "alice", ID: "1", Text: "by the other node"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	alice.post("1", "by this node")
	alice.post("2", "new")
	alice.want("carol: from afar", "alice: by the other node")
	if ack := alice.wantAck(); ack.Sequence != first+1 {
		t.Errorf("acknowledged as %d, want %d", ack.Sequence, first+1)
	}
	alice.want("ack new")
	bob.want("carol: from afar", "alice: by the other node", "alice: new")
	wantStored(t, log, "ops", "carol: from afar", "alice: by the other node", "alice: new")
}

// A room that conflicts for ever does not hold up another.
func TestAContendedRoomDoesNotHoldUpOthers(t *testing.T) {
	log := &contendedLog{Log: roomtest.NewMemory(), room: "hot"}
	hub := newHub(t, room.Config{Log: log})
	hot := joinLive(t, hub, "hot", "alice")
	cold := joinLive(t, hub, "cold", "bob")
	hot.post("1", "never")
	for range 50 {
		cold.post("", "x")
		cold.want("ack x")
	}
	if stored := hub.Stats().Posts; stored != 50 {
		t.Errorf("%d posts are stored", stored)
	}
}

// Nor does it where very much is posted to it.
func TestAContendedRoomWithManyPostsDoesNotHoldUpOthers(t *testing.T) {
	const members, posts = 20, 60
	memory := roomtest.NewMemory()
	log := &contendedLog{Log: memory, room: "hot"}
	conflicts, before := 0, 0 // before is those before the last append that stored something
	hub := newHub(t, room.Config{Log: log, Appended: func(_ int, _ time.Duration, err error) {
		if err != nil {
			conflicts++
		} else {
			before = conflicts
		}
	}})
	release := memory.HoldAppends()
	cold := joinLive(t, hub, "cold", "bob")
	cold.post("", "the first")
	var hot []*session
	for range members {
		hot = append(hot, joinLive(t, hub, "hot", "alice"))
	}
	for _, s := range hot {
		for range posts {
			s.post("", "never")
		}
	}
	cold.post("", "behind them")
	release()
	cold.want("ack the first", "ack behind them")
	if before > 20 {
		t.Errorf("the other room's message waited for %d conflicts", before)
	}
}

// Posts to a room that conflicts for ever are given up, and posted again when their
// senders like. Those who only listen stay.
func TestPostsToAContendedRoomAreGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &contendedLog{Log: roomtest.NewMemory(), room: "hot"}
		hub := newHub(t, room.Config{Log: log})
		alice := joinLive(t, hub, "hot", "alice")
		bob := joinLive(t, hub, "hot", "bob")
		alice.want("JOINED bob")
		for range 2 {
			carol := joinLive(t, hub, "hot", "carol")
			carol.post("1", "never")
			within(t, 20*time.Second, func() { carol.wantEnd(room.ErrUnavailable) })
			carol.Leave()
		}
		log.ends.Store(true)
		alice.post("1", "now")
		readTo(t, alice, "ack now")
		readTo(t, bob, "alice: now")
	})
}

// contendedLog has one room to which another node always writes first.
type contendedLog struct {
	room.Log
	room room.Key
	ends atomic.Bool
}

func (l *contendedLog) Append(ctx context.Context, drafts []room.Draft) (uint64, error) {
	for _, d := range drafts {
		if d.Room == l.room && !l.ends.Load() {
			return 0, room.ErrConflict
		}
	}
	return l.Log.Append(ctx, drafts)
}

// Nor is one waited for of which whoever answers for the log lags behind for long. Its
// posts are told so in the end, and posted again when their senders like.
func TestARoomThatLagsHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := roomtest.NewMemory()
		log := &laggingLog{Log: memory}
		hub := newHub(t, room.Config{Log: log})
		alice := joinLive(t, hub, "ops", "alice")
		bob := joinLive(t, hub, "other", "bob")
		fillMore(t, memory, "ops", 1)
		log.behind.Store(1 << 40)
		alice.post("", "1")
		for range 5 {
			within(t, 5*time.Second, func() {
				bob.post("", "x")
				bob.want("ack x")
			})
		}
		within(t, 20*time.Second, func() { alice.wantEnd(room.ErrUnavailable) })
		alice.Leave()
		log.behind.Store(0)
		alice = joinLive(t, hub, "ops", "alice")
		alice.post("", "1")
		readTo(t, alice, "ack 1")
		wantStored(t, memory, "ops", "alice: x", "alice: 1")
	})
}

// A room that cannot be read fails its own posts, not those that would have been stored
// with them.
func TestARoomThatCannotBeReadFailsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := roomtest.NewMemory()
		hub := newHub(t, room.Config{Log: unreadable{memory, "ops"}})
		alice := joinLive(t, hub, "ops", "alice")
		bob := joinLive(t, hub, "other", "bob")
		fillMore(t, memory, "ops", 1)
		release := memory.HoldAppends()
		bob.post("", "0")
		synctest.Wait()
		for _, text := range []string{"1", "2"} {
			bob.post("", text)
			alice.post("", text)
		}
		release()
		bob.want("ack 0", "ack 1", "ack 2")
		alice.wantEnd(room.ErrUnavailable)
		wantStored(t, memory, "ops", "alice: x")
	})
}

// unreadable has a room of which nothing can be read.
type unreadable struct {
	*roomtest.Memory
	room room.Key
}

func (l unreadable) Read(ctx context.Context, key room.Key, after uint64, limit int) ([]room.Entry, bool, error) {
	if key == l.room {
		return nil, false, room.ErrUnavailable
	}
	return l.Memory.Read(ctx, key, after, limit)
}
