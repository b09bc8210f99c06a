package room_test

import (
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	chatpb "securechat/proto/chat"
	"securechat/server/room"
	"securechat/server/room/roomtest"
)

// wantAck reads events up to the next acknowledgement and returns its entry.
func (s *session) wantAck() room.Entry {
	s.t.Helper()
	for {
		e, err := s.next()
		if err != nil {
			s.t.Fatalf("no acknowledgement: %v", err)
		}
		if e.Kind == chatpb.Kind_ACKNOWLEDGEMENT {
			return e.Entry
		}
	}
}

// wantStored compares the texts of all that the log has of the room.
func wantStored(t *testing.T, log *roomtest.Memory, key room.Key, texts ...string) {
	t.Helper()
	entries, _, err := log.Read(t.Context(), key, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.User+": "+e.Text)
	}
	if len(got) != len(texts) {
		t.Fatalf("the log has %q, want %q", got, texts)
	}
	for i := range got {
		if got[i] != texts[i] {
			t.Fatalf("the log has %q, want %q", got, texts)
		}
	}
}

// wantSame compares a repeated post's acknowledgement with the first's: the entry
// as it was stored, whatever the log calls the one before it.
func wantSame(t *testing.T, got, want room.Entry) {
	t.Helper()
	got.Previous, want.Previous = 0, 0
	if got != want {
		t.Errorf("acknowledged as %+v, want %+v", got, want)
	}
}

func TestARepeatedPostIsAcknowledgedAsTheFirst(t *testing.T) {
	hub, log := memoryHub(t)
	alice := joinLive(t, hub, "ops", "alice")
	alice.post("1", "first")
	first := alice.wantAck()
	// Of two posts with one id, the first is what the id stands for.
	for _, text := range []string{"first", "other"} {
		alice.post("1", text)
		wantSame(t, alice.wantAck(), first)
	}
	alice.Leave()
	again := joinLive(t, hub, "ops", "alice")
	again.post("1", "first")
	wantSame(t, again.wantAck(), first)
	wantStored(t, log, "ops", "alice: first")
}

// A post that is looked for before the first is stored, and waits for the append of
// that, is found to be repeated all the same: be the first the very next in the log.
func TestAPostThatIsRepeatedDuringItsAppend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub, log := memoryHub(t)
		alice := joinLive(t, hub, "ops", "alice")
		again := joinLive(t, hub, "ops", "alice")
		alice.post("0", "before")
		alice.wantAck()
		release := log.HoldAppends()
		alice.post("1", "first")
		synctest.Wait() // its append is under way
		again.post("1", "first")
		release()
		first := alice.wantAck()
		wantSame(t, again.wantAck(), first)
		wantStored(t, log, "ops", "alice: before", "alice: first")
	})
}

func TestPostsThatAreNotRepeated(t *testing.T) {
	hub, log := memoryHub(t)
	alice := joinLive(t, hub, "ops", "alice")
	bob := joinLive(t, hub, "ops", "bob")
	alice.post("1", "a")
	alice.wantAck()
	bob.post("1", "b") // another user's id
	bob.wantAck()
	for range 2 { // without an id every post is a new one
		alice.post("", "c")
		alice.wantAck()
	}
	elsewhere := joinLive(t, hub, "other", "alice")
	elsewhere.post("1", "d") // another room's id
	elsewhere.wantAck()
	wantStored(t, log, "ops", "alice: a", "bob: b", "alice: c", "alice: c")
	wantStored(t, log, "other", "alice: d")
}

func TestAPostIsKnownAgainAfterARestart(t *testing.T) {
	log := roomtest.NewMemory()
	hub := room.New(room.Config{Log: log})
	alice := joinLive(t, hub, "ops", "alice")
	alice.post("1", "first")
	first := alice.wantAck()
	closeHub(t, hub)

	hub = newHub(t, room.Config{Log: log})
	alice = joinLive(t, hub, "ops", "alice")
	alice.post("1", "first")
	wantSame(t, alice.wantAck(), first)
	wantStored(t, log, "ops", "alice: first")
}

func TestADiscardedMessageDoesNotStandInForANewOne(t *testing.T) {
	hub, log := memoryHub(t)
	alice := joinLive(t, hub, "ops", "alice")
	alice.post("1", "old")
	old := alice.wantAck()
	// Enough that the ring has it no more.
	fillRoom(t, hub, "ops", 2000)
	log.DiscardBefore(old.Sequence + 1)
	alice = joinLive(t, hub, "ops", "alice")
	alice.post("1", "new")
	if e := alice.wantAck(); e.Text != "new" {
		t.Errorf("acknowledged %+v", e)
	}
}

// fillRoom posts so many messages.
func fillRoom(t *testing.T, hub *room.Hub, key room.Key, count int) {
	t.Helper()
	const ahead = 1
	filler := joinLive(t, hub, key, "filler")
	defer filler.Leave()
	for i := range count + ahead {
		if i < count {
			filler.post("", "filling")
		}
		if i >= ahead {
			filler.wantAck()
		}
	}
}

func TestIdsWhoseHashesCollide(t *testing.T) {
	log := roomtest.NewMemory()
	config := room.Config{Log: log}.WithHash(func(string, string) uint64 { return 7 })
	hub := newHub(t, config)
	alice := joinLive(t, hub, "ops", "alice")
	bob := joinLive(t, hub, "ops", "bob")
	firsts := map[string]room.Entry{}
	for _, id := range []string{"1", "2", "3"} {
		alice.post(id, "a"+id)
		firsts["alice"+id] = alice.wantAck()
		bob.post(id, "b"+id)
		firsts["bob"+id] = bob.wantAck()
	}
	for _, id := range []string{"3", "1", "2"} {
		alice.post(id, "again")
		wantSame(t, alice.wantAck(), firsts["alice"+id])
		bob.post(id, "again")
		wantSame(t, bob.wantAck(), firsts["bob"+id])
	}
	wantStored(t, log, "ops", "alice: a1", "bob: b1", "alice: a2", "bob: b2", "alice: a3", "bob: b3")
}

// While an append is held up, posts gather: a repetition of what is under way, and
// one within what is appended together next.
func TestRepetitionsUnderWayFailNoNeighbour(t *testing.T) {
	hub, log := memoryHub(t)
	one := joinLive(t, hub, "ops", "alice")
	two := joinLive(t, hub, "ops", "alice")
	release := log.HoldAppends()
	one.post("1", "1")
	two.post("1", "1 again")
	two.post("2", "2")
	two.post("2", "2 again")
	two.post("3", "3")
	one.post("3", "3 again")
	one.post("4", "4")
	release()
	first, third := one.wantAck(), one.wantAck()
	fourth := one.wantAck()
	wantSame(t, two.wantAck(), first)
	second := two.wantAck()
	wantSame(t, two.wantAck(), second)
	wantSame(t, two.wantAck(), third)
	if fourth.Text != "4" || second.Text != "2" {
		t.Errorf("acknowledged %+v and %+v", second, fourth)
	}
	wantStored(t, log, "ops", "alice: 1", "alice: 2", "alice: 3", "alice: 4")
}

// A session that has yet to be replayed what it repeats is told that first.
func TestARepeatedPostIsAcknowledgedAtItsPlace(t *testing.T) {
	hub, _ := memoryHub(t)
	before := joinLive(t, hub, "ops", "alice")
	for _, id := range []string{"1", "2", "3"} {
		before.post(id, id)
		before.wantAck()
	}
	before.Leave()
	bob := joinLive(t, hub, "ops", "bob")
	again := join(t, hub, "ops", "alice", beginning)
	again.post("2", "2")
	again.post("4", "4")
	readTo(t, bob, "alice: 4") // the answer to both is known before anything is read
	var order []string
	for len(order) < 5 {
		e, err := again.next()
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind != chatpb.Kind_LIVE {
			order = append(order, show(e))
		}
	}
	if want := []string{"alice: 1", "alice: 2", "ack 2", "alice: 3", "ack 4"}; !slices.Equal(order, want) {
		t.Errorf("told %q, want %q", order, want)
	}
}

// An id that is posted again each time its message has been discarded finds no more
// to look at each time, neither where it is posted nor on another node.
func TestIdsOfDiscardedMessagesAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const keep, ids, rounds = 4, 8, 600
		log := roomtest.NewMemoryWithin(roomtest.Limits{MaxPerRoom: keep})
		cluster := roomtest.NewCluster(log)
		posting, other := cluster.Node(), cluster.Node()
		reads := &countingLog{Log: posting}
		hub := newHub(t, room.Config{Log: reads, Cluster: posting, Queue: keep})
		otherHub := newHub(t, room.Config{Log: other, Cluster: other})
		bob := joinLive(t, otherHub, "ops", "bob")
		bob.Prepare()
		alice := joinLive(t, hub, "ops", "alice")
		synctest.Wait()
		for i := range rounds * ids {
			alice.post(strconv.Itoa(i%ids), "text")
			alice.wantAck()
		}
		time.Sleep(time.Second) // the bubble's clock
		synctest.Wait()
		if got := reads.read.Load(); got > 2*rounds*ids {
			t.Errorf("%d entries were read for %d posts", got, rounds*ids)
		}
		for name, hub := range map[string]*room.Hub{"where they are posted": hub, "on another node": otherHub} {
			if got, _ := hub.Kept("ops"); got > 2*ids {
				t.Errorf("%s %d ids are kept of %d messages", name, got, keep)
			}
		}
	})
}
