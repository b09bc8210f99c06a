package room_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"securechat/server/room"
	"securechat/server/room/roomtest"
)

func TestARoomSpansNodes(t *testing.T) {
	hubs, _, log, _ := nodes(t, 2)
	alice := joinLive(t, hubs[0], "ops", "alice")
	bob := joinLive(t, hubs[1], "ops", "bob")
	alice.post("1", "a1")
	readTo(t, alice, "ack a1")
	readTo(t, bob, "alice: a1")
	bob.post("1", "b1")
	readTo(t, bob, "ack b1")
	readTo(t, alice, "bob: b1")
	alice.post("1", "a1 again")
	readTo(t, alice, "ack a1") // that bob is here she may be told at any time
	wantStored(t, log, "ops", "alice: a1", "bob: b1")
}

// A post that was stored through one node is known on another.
func TestARepetitionOnAnotherNodeIsKnown(t *testing.T) {
	hubs, _, log, cluster := nodes(t, 2)
	again := joinLive(t, hubs[1], "ops", "alice")
	cluster.DropEntries(func(room.Entry) bool { return true }) // it is not told
	alice := joinLive(t, hubs[0], "ops", "alice")
	alice.post("1", "first")
	first := alice.wantAck()
	again.post("1", "again")
	wantSame(t, again.wantAck(), first)
	wantStored(t, log, "ops", "alice: first")
}

// What gets lost on the way is read from the log: in the middle once the next
// comes, at the end within seconds.
func TestLostEntriesAreReadFromTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hubs, _, _, cluster := nodes(t, 2)
		alice := joinLive(t, hubs[0], "ops", "alice")
		bob := joinLive(t, hubs[1], "ops", "bob")
		readTo(t, alice, "JOINED bob")
		bob.rest(time.Second)
		cluster.DropEntries(func(e room.Entry) bool { return e.Text != "4" })
		for _, text := range []string{"1", "2", "3", "4"} {
			alice.post(text, text)
			alice.wantAck()
		}
		within(t, time.Millisecond, func() { bob.want("alice: 1", "alice: 2", "alice: 3", "alice: 4") })
		alice.post("5", "5")
		within(t, 6*time.Second, func() { bob.want("alice: 5") })
	})
}

func TestWhatANodeMissedWhileItWasApartIsReadAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hubs, all, _, _ := nodes(t, 2)
		alice := joinLive(t, hubs[0], "ops", "alice")
		bob := joinLive(t, hubs[1], "ops", "bob")
		bob.rest(time.Second)
		all[1].Disconnect()
		alice.post("1", "1")
		time.Sleep(time.Second) // the bubble's clock
		bob.wantNothing(time.Second)
		if err := bob.Post(t.Context(), room.Posting{Text: "x"}); err != nil {
			t.Fatal(err)
		}
		bob.wantEnd(room.ErrUnavailable)
		carol := joinLive(t, hubs[1], "ops", "carol") // the room is loaded
		all[1].Reconnect()
		within(t, 10*time.Millisecond, func() { readTo(t, carol, "alice: 1") })
	})
}

// What the log has discarded before a node could read it is skipped for nobody in
// silence: not for who is live, nor for who has come from another node with it.
func TestWhatIsDiscardedWhileANodeIsApart(t *testing.T) {
	for _, before := range []int{0, 2} { // messages that the node knows of
		t.Run(fmt.Sprint(before, " before"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hubs, all, log, _ := nodes(t, 2)
				alice := joinLive(t, hubs[0], "ops", "alice")
				bob := joinLive(t, hubs[1], "ops", "bob")
				readTo(t, alice, "JOINED bob")
				says := func(texts ...string) (sequences []uint64) {
					for _, text := range texts {
						alice.post("", text)
						sequences = append(sequences, alice.wantAck().Sequence)
					}
					return sequences
				}
				for i := range before {
					says(fmt.Sprint("before ", i))
					readTo(t, bob, fmt.Sprint("alice: before ", i))
				}
				bob.rest(time.Second)
				all[1].Disconnect()
				sequences := says("1", "2", "3", "4")
				log.DiscardRoom("ops", 2)
				all[1].Reconnect()
				e, err := bob.next()
				var gone *room.GoneError
				if !errors.As(err, &gone) || gone.Oldest != sequences[1] {
					t.Errorf("who was live is told %s, %v; want that all up to %d is gone", show(e), err, sequences[1])
				}
				if m, err := hubs[1].Join(t.Context(), "ops", "carol", after(sequences[0])); !errors.As(err, &gone) {
					t.Errorf("who comes back from within what is gone is told %v", err)
					if err == nil {
						m.Leave()
					}
				}
				dave := join(t, hubs[1], "ops", "dave", after(sequences[1]))
				readTo(t, dave, "alice: 3")
				readTo(t, dave, "alice: 4")
				says("5")
				readTo(t, dave, "alice: 5")
			})
		})
	}
}

// Of a room whose messages are all discarded a node that has just begun to use it
// knows nothing. What is said through it follows whatever is gone, of which who is
// live on another node has missed nothing, nor who comes back to that one.
func TestANodeThatKnowsNothingOfAnEmptiedRoom(t *testing.T) {
	hubs, _, log, _ := nodes(t, 2)
	fillMore(t, log, "other", 3)
	_, last, err := log.Span(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	bob := joinLive(t, hubs[1], "ops", "bob")
	log.DiscardBefore(last + 1)
	alice := joinLive(t, hubs[0], "ops", "alice")
	alice.post("", "1")
	readTo(t, bob, "alice: 1")
	readTo(t, join(t, hubs[1], "ops", "carol", after(last-1)), "alice: 1")
}

// An append's entries can be read and followed before it returns. They are not
// given out before, and then to their author as acknowledgements.
func TestAnEntryIsNotGivenOutBeforeItsAppendReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hubs, _, log, _ := nodes(t, 2)
		alice := joinLive(t, hubs[0], "ops", "alice")
		bob := joinLive(t, hubs[0], "ops", "bob")
		alice.want("JOINED bob")
		release := log.HoldAnswers()
		alice.post("1", "1")
		replaying := join(t, hubs[0], "ops", "alice", beginning)
		replaying.want("LIVE")
		alice.wantNothing(time.Minute)
		bob.wantNothing(time.Second)
		replaying.wantNothing(time.Second)
		release()
		alice.want("ack 1")
		bob.want("alice: 1")
		replaying.want("alice: 1")
	})
}

// While a node's append is under way another's entries come: they have their
// places, once.
func TestEntriesOfOthersDuringAnAppend(t *testing.T) {
	hubs, _, log, _ := nodes(t, 2)
	alice := joinLive(t, hubs[0], "ops", "alice")
	bob := joinLive(t, hubs[1], "ops", "bob")
	release := log.HoldAppends()
	alice.post("1", "a")
	bob.post("1", "b")
	release()
	got := map[string][]string{}
	for name, s := range map[string]*session{"alice": alice, "bob": bob} {
		for len(got[name]) < 2 {
			e, err := s.next()
			if err != nil {
				t.Fatal(err)
			}
			if e.Entry.Text != "" {
				got[name] = append(got[name], e.Entry.Text)
			}
		}
	}
	if fmt.Sprint(got["alice"]) != fmt.Sprint(got["bob"]) {
		t.Errorf("the orders differ: %v", got)
	}
}

// What another node stores while this one's append is under way, or while it loads the
// room, is told as soon as that is over, not only when rooms are compared.
func TestWhatIsStoredDuringAnAppendIsToldAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hubs, _, log, _ := nodes(t, 2)
		alice := joinLive(t, hubs[0], "ops", "alice")
		bob := joinLive(t, hubs[1], "ops", "bob")
		alice.rest(time.Second)
		bob.rest(time.Second)
		release := log.HoldAnswers()
		alice.post("", "a")
		synctest.Wait()
		bob.post("", "b") // conflicts, and is stored then
		synctest.Wait()
		within(t, 100*time.Millisecond, func() {
			release()
			alice.want("ack a", "bob: b")
			bob.want("alice: a", "ack b")
		})
	})
}

// So it is where nothing has told of it but a comparison during the append.
func TestWhatAComparisonFindsDuringAnAppendIsToldAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hubs, _, log, cluster := nodes(t, 2)
		alice := joinLive(t, hubs[0], "ops", "alice")
		bob := joinLive(t, hubs[1], "ops", "bob")
		alice.rest(time.Second)
		bob.rest(time.Second)
		release := log.HoldAnswers()
		alice.post("", "a")
		synctest.Wait()
		cluster.DropEntries(func(room.Entry) bool { return true })
		bob.post("", "b")
		time.Sleep(6 * time.Second) // the bubble's clock
		synctest.Wait()
		within(t, 100*time.Millisecond, func() {
			release()
			alice.want("ack a", "bob: b")
		})
	})
}

func TestWhatIsStoredDuringALoadIsToldAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := roomtest.NewMemory()
		cluster := roomtest.NewCluster(log)
		one, two := cluster.Node(), cluster.Node()
		alice := joinLive(t, newHub(t, room.Config{Log: one, Cluster: one}), "ops", "alice")
		late := &lateNewest{Log: two, begun: make(chan struct{}), release: make(chan struct{})}
		hub := newHub(t, room.Config{Log: late, Cluster: two})
		joined := make(chan *session)
		go func() { joined <- join(t, hub, "ops", "bob", beginning) }()
		<-late.begun
		alice.post("", "a")
		alice.wantAck()
		synctest.Wait()
		close(late.release)
		bob := <-joined
		within(t, 100*time.Millisecond, func() { readTo(t, bob, "alice: a") })
	})
}

// lateNewest says a room's newest, the first time, when release is closed.
type lateNewest struct {
	room.Log
	first          sync.Once
	begun, release chan struct{}
}

func (l *lateNewest) Newest(ctx context.Context, key room.Key) (uint64, error) {
	newest, err := l.Log.Newest(ctx, key)
	l.first.Do(func() {
		close(l.begun)
		<-l.release
	})
	return newest, err
}

// Everything at once: nodes that write to one room, with entries and notes lost,
// readers that come and go, and a history that is checked.
func TestHistoriesOfAClusterThatLosesThings(t *testing.T) {
	for trial := range 4 {
		log := roomtest.NewMemory()
		cluster := roomtest.NewCluster(log)
		var count atomic.Uint64
		cluster.DropEntries(func(room.Entry) bool { return count.Add(1)%5 == 0 })
		cluster.DropNotes(func(room.Key, []byte) bool { return count.Add(1)%3 == 0 })
		var hubs []*room.Hub
		for range 3 {
			node := cluster.Node()
			hubs = append(hubs, room.New(room.Config{Log: node, Cluster: node, Queue: 64 << trial}))
		}
		r := record(t, "ops")
		const messages = 60
		for i, hub := range hubs {
			for j := range 2 {
				r.tasks.Go(func() { r.write(hub, fmt.Sprintf("writer-%d-%d", i, j), messages) })
			}
			r.resume(hub, fmt.Sprintf("reader-%d", i), 20+50*i, len(hubs)*2*messages)
		}
		r.tasks.Wait()
		r.check()
		for _, hub := range hubs {
			closeHub(t, hub)
		}
		if t.Failed() {
			t.Fatalf("in trial %d", trial)
		}
	}
}

// A node of the log's may lag behind what another has acknowledged.
func TestALaggingReadIsNoEnd(t *testing.T) {
	log := roomtest.NewMemory()
	writing := newHub(t, room.Config{Log: log})
	fillRoom(t, writing, "ops", 10)
	lagging := &laggingLog{Log: log}
	hub := newHub(t, room.Config{Log: lagging, Queue: 4})
	lagging.behind.Store(3)
	bob := join(t, hub, "ops", "bob", beginning)
	lagging.behind.Store(3)
	for range 10 {
		bob.want("filler: filling")
	}
	bob.want("LIVE")
}

// laggingLog answers the next reads as if it had nothing.
type laggingLog struct {
	room.Log
	behind atomic.Int64
}

func (l *laggingLog) Read(ctx context.Context, key room.Key, after uint64, limit int) ([]room.Entry, bool, error) {
	if l.behind.Add(-1) >= 0 {
		return nil, false, nil
	}
	return l.Log.Read(ctx, key, after, limit)
}

func TestARoomThatCannotBeLoadedIsTriedAgain(t *testing.T) {
	hub, log := memoryHub(t)
	log.FailReads(errors.New("no quorum"))
	if _, err := hub.Join(t.Context(), "ops", "alice", live); !errors.Is(err, room.ErrUnavailable) {
		t.Fatalf("%v", err)
	}
	log.FailReads(nil)
	joinLive(t, hub, "ops", "alice")
}

// A node that misses something again and again, since it is too slow for what comes, has
// the others told of all its rooms no more often for that than they can bear.
func TestANodeThatMissesMuchAsksSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hubs, all, _, cluster := nodes(t, 2)
		bob := joinLive(t, hubs[1], "ops", "bob")
		bob.rest(time.Minute)
		var asked atomic.Int64
		cluster.DropNotes(func(_ room.Key, note []byte) bool {
			if strings.Contains(string(note), `"ask"`) {
				asked.Add(1)
			}
			return false
		})
		for range 1000 {
			all[1].Reconnect()
			time.Sleep(10 * time.Millisecond) // the bubble's clock
		}
		if times := asked.Load(); times < 10 || times > 25 {
			t.Errorf("it asked %d times in ten seconds, want once a beat", times)
		}
	})
}
