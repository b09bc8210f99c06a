package room_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"securechat/server/room"
	"securechat/server/room/roomtest"
)

// nodes makes hubs of a cluster around one log. Each is closed at the end.
func nodes(t *testing.T, count int) ([]*room.Hub, []*roomtest.Node, *roomtest.Memory, *roomtest.Cluster) {
	t.Helper()
	log := roomtest.NewMemory()
	cluster := roomtest.NewCluster(log)
	var hubs []*room.Hub
	var all []*roomtest.Node
	for range count {
		node := cluster.Node()
		all = append(all, node)
		hubs = append(hubs, newHub(t, room.Config{Log: node, Cluster: node}))
	}
	return hubs, all, log, cluster
}

func names(t *testing.T, hub *room.Hub, key room.Key) string {
	t.Helper()
	members, err := hub.Members(context.Background(), key)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range members {
		names = append(names, m.User)
	}
	return strings.Join(names, " ")
}

// wantNothing reads for a while of the bubble's time, in which nothing may come.
func (s *session) wantNothing(d time.Duration) {
	s.t.Helper()
	if len(s.buffered) > 0 {
		s.t.Fatalf("got %s, want nothing", show(s.buffered[0]))
	}
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	events := make([]room.Event, 1)
	if n, err := s.Next(ctx, events); n > 0 || !errors.Is(err, context.DeadlineExceeded) {
		s.t.Fatalf("got %s, %v, want nothing", show(events[0]), err)
	}
}

// within fails unless do takes less than d of the bubble's time.
func within(t *testing.T, d time.Duration, do func()) {
	t.Helper()
	began := time.Now()
	if do(); time.Since(began) > d {
		t.Errorf("it took %v, want at most %v", time.Since(began), d)
	}
}

func TestAUserComesWithTheFirstSessionAndGoesWithTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub, _ := memoryHub(t)
		watcher := joinLive(t, hub, "ops", "watcher")
		began := time.Now()
		one := joinLive(t, hub, "ops", "alice")
		within(t, 0, func() { watcher.want("JOINED alice") })
		time.Sleep(time.Minute) // the bubble's clock
		two := joinLive(t, hub, "ops", "alice")
		one.Leave()
		watcher.wantNothing(time.Minute)
		if got := names(t, hub, "ops"); got != "alice watcher" {
			t.Errorf("members: %s", got)
		}
		members, _ := hub.Members(t.Context(), "ops")
		if !members[0].Since.Equal(began) {
			t.Errorf("alice is there since %v, want %v", members[0].Since, began)
		}
		// Away for a moment.
		two.Leave()
		time.Sleep(time.Second) // the bubble's clock
		three := joinLive(t, hub, "ops", "alice")
		watcher.wantNothing(time.Minute)
		three.Leave()
		within(t, 2*time.Second, func() { watcher.want("LEFT alice") })
		if got := names(t, hub, "ops"); got != "watcher" {
			t.Errorf("members: %s", got)
		}
		if got := names(t, hub, "unused"); got != "" {
			t.Errorf("members: %s", got)
		}
	})
}

func TestPresenceSpansNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hubs, _, _, _ := nodes(t, 3)
		watcher := joinLive(t, hubs[0], "ops", "watcher")
		one := joinLive(t, hubs[1], "ops", "alice")
		within(t, 200*time.Millisecond, func() { watcher.want("JOINED alice") })
		two := joinLive(t, hubs[2], "ops", "alice")
		bob := joinLive(t, hubs[2], "ops", "bob")
		within(t, 200*time.Millisecond, func() { watcher.want("JOINED bob") })
		for _, hub := range hubs {
			if got := names(t, hub, "ops"); got != "alice bob watcher" {
				t.Errorf("members: %s", got)
			}
		}
		one.Leave()
		watcher.wantNothing(time.Minute)
		two.Leave()
		bob.Leave()
		within(t, 3*time.Second, func() {
			got := map[string]bool{}
			for range 2 {
				e, err := watcher.next()
				if err != nil {
					t.Fatal(err)
				}
				got[show(e)] = true
			}
			if !got["LEFT alice"] || !got["LEFT bob"] {
				t.Errorf("got %v", got)
			}
		})
		if got := names(t, hubs[1], "ops"); got != "watcher" {
			t.Errorf("members: %s", got)
		}
	})
}

func TestANodeThatDoesNotUseTheRoomAsksTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hubs, _, _, _ := nodes(t, 3)
		joinLive(t, hubs[0], "ops", "alice")
		for i := range 250 { // more than one note has
			joinLive(t, hubs[1], "ops", "user-"+string(rune('a'+i/26))+string(rune('a'+i%26)))
		}
		var members []room.Presence
		within(t, 300*time.Millisecond, func() {
			var err error
			if members, err = hubs[2].Members(t.Context(), "ops"); err != nil {
				t.Error(err)
			}
		})
		if len(members) != 251 || members[0].User != "alice" || members[1].User != "user-aa" {
			t.Errorf("%d members: %v", len(members), members[:min(3, len(members))])
		}
	})
}

// So does one that cannot load the room.
func TestANodeThatCannotLoadTheRoomAsksTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := roomtest.NewMemory()
		cluster := roomtest.NewCluster(log)
		one, two := cluster.Node(), cluster.Node()
		joinLive(t, newHub(t, room.Config{Log: one, Cluster: one}), "ops", "alice")
		failing := &failingSpan{Log: two, begun: make(chan struct{}), release: make(chan struct{})}
		hub := newHub(t, room.Config{Log: failing, Cluster: two})
		cluster.DropNotes(func(room.Key, []byte) bool { return true }) // nothing is known when it fails
		var tasks sync.WaitGroup
		defer tasks.Wait()
		tasks.Go(func() {
			if _, err := hub.Join(t.Context(), "ops", "bob", live); !errors.Is(err, room.ErrUnavailable) {
				t.Errorf("bob joins with %v", err)
			}
		})
		<-failing.begun
		tasks.Go(func() {
			if got := names(t, hub, "ops"); got != "alice" {
				t.Errorf("members: %q", got)
			}
		})
		synctest.Wait()
		cluster.DropNotes(nil)
		close(failing.release)
	})
}

// failingSpan fails to say its span, once it is released.
type failingSpan struct {
	room.Log
	begun, release chan struct{}
}

func (l *failingSpan) Span(context.Context) (first, last uint64, err error) {
	close(l.begun)
	<-l.release
	return 0, 0, room.ErrUnavailable
}

// A node that comes later learns who is there. Its members are told of that once,
// or knew it already.
func TestANodeThatComesLaterLearnsWhoIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hubs, _, _, _ := nodes(t, 2)
		joinLive(t, hubs[0], "ops", "alice")
		began := time.Now()
		time.Sleep(time.Hour) // the bubble's clock
		bob := joinLive(t, hubs[1], "ops", "bob")
		if told := bob.rest(time.Minute); len(told) > 1 || len(told) == 1 && told[0] != "JOINED alice" {
			t.Errorf("bob was told %v", told)
		}
		members, err := hubs[1].Members(t.Context(), "ops")
		if err != nil || len(members) != 2 || members[0].User != "alice" || !members[0].Since.Equal(began) {
			t.Errorf("members: %v, %v", members, err)
		}
	})
}

// rest reads what comes for a while of the bubble's time.
func (s *session) rest(d time.Duration) (told []string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	for {
		for _, e := range s.buffered {
			told = append(told, show(e))
		}
		events := make([]room.Event, 8)
		n, err := s.Next(ctx, events)
		if s.buffered = events[:n]; errors.Is(err, context.DeadlineExceeded) {
			return told
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
}

func TestAKilledNodesUsersAreGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hubs, all, _, _ := nodes(t, 3)
		watcher := joinLive(t, hubs[0], "ops", "watcher")
		joinLive(t, hubs[1], "ops", "alice")
		watcher.want("JOINED alice")
		joinLive(t, hubs[1], "ops", "bob")
		watcher.want("JOINED bob")
		joinLive(t, hubs[2], "ops", "bob") // is on another node, too
		watcher.wantNothing(time.Minute)
		all[1].Disconnect()
		within(t, 15*time.Second, func() { watcher.want("LEFT alice") })
		watcher.wantNothing(time.Minute)
		if got := names(t, hubs[0], "ops"); got != "bob watcher" {
			t.Errorf("members: %s", got)
		}
		all[1].Reconnect()
		within(t, time.Second, func() { watcher.want("JOINED alice") })
	})
}

// Nor are others gone because this process has been held up, be they on other nodes or
// on their way back.
func TestNobodyIsGoneForTimeInWhichTheProcessIsHeldUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := roomtest.NewMemory()
		cluster := roomtest.NewCluster(log)
		one, two := cluster.Node(), cluster.Node()
		var heldUp atomic.Int64
		hub := newHub(t, room.Config{
			Log: one, Cluster: one,
			Now: func() time.Time { return time.Now().Add(time.Duration(heldUp.Load())) },
		})
		watcher := joinLive(t, hub, "ops", "watcher")
		other := newHub(t, room.Config{Log: two, Cluster: two})
		joinLive(t, other, "ops", "alice")
		watcher.want("JOINED alice")
		bob := joinLive(t, hub, "ops", "bob")
		watcher.want("JOINED bob")
		watcher.wantNothing(3 * time.Second)
		bob.Leave()
		heldUp.Store(int64(time.Hour))
		watcher.wantNothing(time.Second)
		joinLive(t, hub, "ops", "bob")
		watcher.wantNothing(time.Minute)
	})
}

func TestAClosedHubsUsersLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hubs, _, _, _ := nodes(t, 2)
		watcher := joinLive(t, hubs[0], "ops", "watcher")
		joinLive(t, hubs[1], "ops", "alice")
		watcher.want("JOINED alice")
		closeHub(t, hubs[1])
		within(t, 3*time.Second, func() { watcher.want("LEFT alice") })
	})
}

// Who has left just before a hub is closed has left for the others, too, even where
// telling them was put off because something else had just been told.
func TestWhoHasLeftBeforeItsHubIsClosedLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hubs, _, _, _ := nodes(t, 2)
		watcher := joinLive(t, hubs[0], "ops", "watcher")
		alice := joinLive(t, hubs[1], "ops", "alice")
		watcher.want("JOINED alice")
		bob := joinLive(t, hubs[1], "ops", "bob")
		watcher.want("JOINED bob")
		time.Sleep(time.Second) // the bubble's clock
		alice.Leave()
		synctest.Wait()
		bob.Leave()
		closeHub(t, hubs[1])
		within(t, 3*time.Second, func() { readTo(t, watcher, "LEFT bob") })
	})
}

// Notes that get lost are made up for by those that come every few seconds.
func TestLostNotesAreMadeUpFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hubs, _, _, cluster := nodes(t, 2)
		watcher := joinLive(t, hubs[0], "ops", "watcher")
		cluster.DropNotes(func(room.Key, []byte) bool { return true })
		joinLive(t, hubs[1], "ops", "alice")
		time.Sleep(time.Second) // the bubble's clock
		synctest.Wait()
		cluster.DropNotes(nil)
		within(t, 5*time.Second, func() { watcher.want("JOINED alice") })
	})
}

func TestTypingIsToldOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hubs, _, log, _ := nodes(t, 2)
		alice := joinLive(t, hubs[0], "ops", "alice")
		bob := joinLive(t, hubs[0], "ops", "bob")
		carol := joinLive(t, hubs[1], "ops", "carol")
		alice.want("JOINED bob", "JOINED carol")
		bob.want("JOINED carol")
		time.Sleep(time.Second) // the bubble's clock
		synctest.Wait()
		for range 5 {
			alice.Typing()
		}
		bob.want("TYPING alice")
		readTo(t, carol, "TYPING alice")
		bob.wantNothing(2 * time.Second)
		carol.wantNothing(0)
		alice.Typing()
		bob.want("TYPING alice")
		carol.want("TYPING alice")
		alice.wantNothing(time.Second) // the one who types is not told
		wantStored(t, log, "ops")
	})
}

// readTo reads up to an event.
func readTo(t *testing.T, s *session, want string) {
	t.Helper()
	for {
		e, err := s.next()
		if err != nil {
			t.Fatalf("%v, want %s", err, want)
		}
		if show(e) == want {
			return
		}
	}
}

func TestNotesThatAreNoneAreIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hubs, all, _, _ := nodes(t, 2)
		watcher := joinLive(t, hubs[0], "ops", "watcher")
		for _, note := range []string{
			"", "{}", "null", `{"v":2,"node":"x","kind":"typing","user":"mallory"}`,
			`{"v":1,"node":"","kind":"typing","user":"mallory"}`,
			`{"v":1,"node":"x","kind":"typing","user":""}`,
			`{"v":1,"node":"x","kind":"typing","user":"mallory","more":1}`,
			`{"v":1,"node":"x","kind":"typing","user":"mallory"} {}`,
			`{"v":1,"node":"x","kind":"users","number":1,"part":1,"parts":1}`,
			`{"v":1,"node":"x","kind":"users","number":1,"part":0,"parts":1,"users":[{"user":"","since":1}]}`,
			`{"v":1,"node":"x","kind":"typing","user":"` + strings.Repeat("m", 300) + `"}`,
		} {
			if err := all[1].Publish("ops", []byte(note)); err != nil {
				t.Fatal(err)
			}
		}
		watcher.wantNothing(time.Minute)
		// The newest list counts, whichever comes last.
		for _, number := range []string{"2", "1"} {
			note := `{"v":1,"node":"x","kind":"users","number":` + number + `,"parts":1,"users":[{"user":"user` + number + `","since":1}]}`
			if err := all[1].Publish("ops", []byte(note)); err != nil {
				t.Fatal(err)
			}
		}
		watcher.want("JOINED user2")
		watcher.wantNothing(time.Second)
	})
}
