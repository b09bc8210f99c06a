package room_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	chatpb "securechat/proto/chat"
	"securechat/server/room"
	"securechat/server/room/roomtest"
)

func TestCursorsThatCannotBeComeBackTo(t *testing.T) {
	log := roomtest.NewMemory()
	var sequences []uint64 // of "ops"
	sequences = append(sequences, fill(t, log, 10, func(int) room.Key { return "ops" })...)
	fillMore(t, log, "other", 5)
	discard := sequences[5]
	log.DiscardBefore(discard) // the first of ops that is kept
	_, last, err := log.Span(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name   string
		room   room.Key
		after  uint64
		gone   bool
		oldest uint64
	}{
		{"a message after it is discarded", "ops", sequences[3], true, sequences[4]},
		{"the log has never given it", "ops", last + 1, true, sequences[4]},
		{"an empty room, before what is kept", "empty", sequences[3], true, discard - 1},
		{"an empty room, never given", "empty", last + 1, true, discard - 1},
		{"the oldest", "ops", sequences[4], false, 0},
		{"within", "ops", sequences[7], false, 0},
		{"the newest", "ops", sequences[9], false, 0},
		{"another room's", "ops", last, false, 0},
		{"the beginning", "ops", 0, false, 0},
		{"an empty room, the oldest", "empty", discard - 1, false, 0},
		{"an empty room, the newest", "empty", last, false, 0},
		{"an empty room, the beginning", "empty", 0, false, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			hub := newHub(t, room.Config{Log: log})
			m, err := hub.Join(t.Context(), c.room, "alice", after(c.after))
			if err == nil {
				defer m.Leave()
			}
			var gone *room.GoneError
			if errors.As(err, &gone) != c.gone || err != nil && !c.gone {
				t.Fatalf("%v", err)
			}
			if c.gone && gone.Oldest != c.oldest {
				t.Errorf("the oldest is %d, want %d", gone.Oldest, c.oldest)
			}
		})
	}
}

func fillMore(t *testing.T, log *roomtest.Memory, key room.Key, count int) {
	t.Helper()
	for range count {
		newest, err := log.Newest(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		draft := room.Draft{Entry: room.Entry{Room: key, User: "alice", Text: "x"}, Expected: newest}
		if _, err := log.Append(t.Context(), []room.Draft{draft}); err != nil {
			t.Fatal(err)
		}
	}
}

// A room that everything of was discarded from, while the hub knew it: who has
// had all of it has lost nothing.
func TestWhoHasHadAllMayComeBackToAnEmptiedRoom(t *testing.T) {
	hub, log := memoryHub(t)
	alice := joinLive(t, hub, "ops", "alice")
	alice.post("", "1")
	first := alice.wantAck()
	alice.post("", "2")
	second := alice.wantAck() // she stays, lest the room be forgotten
	fillMore(t, log, "other", 3)
	log.DiscardBefore(second.Sequence + 3)
	join(t, hub, "ops", "alice", after(second.Sequence)).want("LIVE")
	fresh := newHub(t, room.Config{Log: log})
	carol := join(t, fresh, "ops", "carol", beginning)
	carol.want("LIVE")
	carol.post("", "3")
	carol.want("ack 3")
	var gone *room.GoneError
	if _, err := fresh.Join(t.Context(), "ops", "bob", after(first.Sequence)); !errors.As(err, &gone) {
		t.Errorf("a cursor before what was discarded: %v", err)
	}
}

// Who has had nothing yet is not left out of what has come since it joined either.
func TestWhatCameSinceAMemberJoinedIsNotLeftOut(t *testing.T) {
	for name, from := range map[string]room.Position{"live": live, "from the beginning": beginning} {
		t.Run(name, func(t *testing.T) {
			log := roomtest.NewMemoryWithin(roomtest.Limits{MaxPerRoom: 4})
			hub := newHub(t, room.Config{Log: log, Queue: 8, Lag: time.Hour})
			bob := join(t, hub, "ops", "bob", from)
			bob.post("", "discarded before it is read")
			fillRoom(t, hub, "ops", 20)
			entries, _, err := log.Read(t.Context(), "ops", 0, 1)
			if err != nil {
				t.Fatal(err)
			}
			var gone *room.GoneError
			if e, err := bob.next(); !errors.As(err, &gone) || gone.Oldest != entries[0].Previous {
				t.Errorf("got %s, %v", show(e), err)
			}
		})
	}
}

// What is discarded while it is being replayed is not left out silently.
func TestAReplayThatRetentionOvertakesEnds(t *testing.T) {
	hub, log := memoryHub(t)
	sequences := fill(t, log, 20, func(int) room.Key { return "ops" })
	m, err := hub.Join(t.Context(), "ops", "alice", after(sequences[0]))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Leave()
	if _, err := m.Next(t.Context(), make([]room.Event, 3)); err != nil {
		t.Fatal(err)
	}
	log.DiscardBefore(sequences[10])
	var gone *room.GoneError
	if _, err := m.Next(t.Context(), make([]room.Event, 3)); !errors.As(err, &gone) || gone.Oldest != sequences[9] {
		t.Errorf("%v", err)
	}
}

// What another node has stored, and the log has discarded before this one got to read
// it, is not left out silently either, whether the node is told of it or finds out by
// a conflict.
func TestWhatANodeCouldNotReadInTimeIsNotLeftOut(t *testing.T) {
	for name, before := range map[string]int{"in a room": 2, "in a room that was empty": 0} {
		for _, how := range []string{"told", "by a conflict"} {
			t.Run(name+", "+how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					log := roomtest.NewMemoryWithin(roomtest.Limits{MaxPerRoom: 4})
					cluster := roomtest.NewCluster(log)
					one, two := cluster.Node(), cluster.Node()
					writing := newHub(t, room.Config{Log: one, Cluster: one})
					hub := newHub(t, room.Config{Log: two, Cluster: two})
					bob := joinLive(t, hub, "ops", "bob")
					carol := joinLive(t, hub, "ops", "carol")
					dave := joinLive(t, hub, "ops", "dave")
					for range before {
						fillRoom(t, writing, "ops", 1)
						readTo(t, bob, "filler: filling")
						readTo(t, carol, "filler: filling")
					}
					cluster.DropEntries(func(room.Entry) bool { return true })
					fillRoom(t, writing, "ops", 20)
					cluster.DropEntries(nil)
					if how == "told" {
						fillRoom(t, writing, "ops", 1)
					} else {
						dave.post("", "from here")
					}
					synctest.Wait()
					entries, _, err := log.Read(t.Context(), "ops", 0, 1)
					if err != nil {
						t.Fatal(err)
					}
					oldest := entries[0].Previous
					for _, s := range []*session{bob, carol} {
						var gone *room.GoneError
						for err == nil {
							var e room.Event
							if e, err = s.next(); err == nil && e.Kind == chatpb.Kind_MESSAGE {
								t.Fatalf("got %s, after what is discarded", show(e))
							}
						}
						if !errors.As(err, &gone) || gone.Oldest != oldest {
							t.Errorf("ended with %v, want that all up to %d is gone", err, oldest)
						}
						err = nil
						s.Leave()
					}
					again := join(t, hub, "ops", "bob", after(oldest))
					for range 3 {
						readTo(t, again, "filler: filling")
					}
				})
			})
		}
	}
}

// What a room had is discarded in the moment in which it is loaded: who has not had all
// of it is told.
func TestWhatIsDiscardedDuringALoadIsNotLeftOut(t *testing.T) {
	log := &discardingLog{Memory: roomtest.NewMemory()}
	fillMore(t, log.Memory, "other", 3)
	sequences := fill(t, log.Memory, 5, func(int) room.Key { return "ops" })
	_, last, err := log.Span(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	hub := newHub(t, room.Config{Log: log})
	log.upTo = last
	joinLive(t, hub, "ops", "alice")
	var gone *room.GoneError
	if m, err := hub.Join(t.Context(), "ops", "bob", after(sequences[2])); !errors.As(err, &gone) || gone.Oldest != last {
		t.Errorf("who has not had all comes back with %v", err)
		if err == nil {
			m.Leave()
		}
	}
}

// discardingLog discards what it has up to a sequence before it says what a room's
// newest is.
type discardingLog struct {
	*roomtest.Memory
	upTo uint64
}

func (l *discardingLog) Newest(ctx context.Context, key room.Key) (uint64, error) {
	l.DiscardBefore(l.upTo + 1)
	return l.Memory.Newest(ctx, key)
}

// Nor is it where nothing at all is left of what the node has missed, when it compares
// the room with the log.
func TestWhatANodeMissedAltogetherIsNotLeftOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hubs, all, log, _ := nodes(t, 2)
		bob := joinLive(t, hubs[1], "ops", "bob")
		all[1].Disconnect()
		fillMore(t, log, "ops", 3)
		_, last, err := log.Span(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		log.DiscardBefore(last + 1)
		all[1].Reconnect()
		bob.rest(time.Minute) // the bubble's clock: it has been compared
		alice := joinLive(t, hubs[0], "ops", "alice")
		alice.post("", "after")
		var gone *room.GoneError
		for err == nil {
			var e room.Event
			if e, err = bob.next(); err == nil && e.Kind == chatpb.Kind_MESSAGE {
				t.Fatalf("got %s, after what is discarded", show(e))
			}
		}
		if !errors.As(err, &gone) || gone.Oldest != last {
			t.Errorf("ended with %v, want that all up to %d is gone", err, last)
		}
	})
}

// A room in which nothing has been said for longer than messages are kept: whoever
// says something next on a node that knows nothing of it, nobody has missed anything.
func TestARoomThatWasSilentForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hubs, _, log, _ := nodes(t, 2)
		bob := joinLive(t, hubs[0], "ops", "bob")
		bob.post("", "long ago")
		readTo(t, bob, "ack long ago")
		silent := joinLive(t, hubs[0], "silent", "bob")
		for range 3 {
			fillMore(t, log, "other", 5)
			time.Sleep(6 * time.Second) // the bubble's clock: rooms are compared
			_, last, err := log.Span(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			log.DiscardBefore(last + 1)
		}
		for _, key := range []room.Key{"ops", "silent"} {
			alice := joinLive(t, hubs[1], key, "alice")
			alice.post("", "hello")
			readTo(t, alice, "ack hello")
		}
		readTo(t, bob, "alice: hello")
		readTo(t, silent, "alice: hello")
	})
}

// A room in which one sits alone for longer than messages are kept: what others come
// back to is of when they came.
func TestTheCursorOfASilentRoomIsNotOlderThanWhatIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub, log := memoryHub(t)
		joinLive(t, hub, "silent", "bot")
		fillMore(t, log, "other", 5)
		time.Sleep(time.Hour) // the bubble's clock
		_, last, err := log.Span(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		log.DiscardBefore(last - 1)
		alice := join(t, hub, "silent", "alice", live)
		e, err := alice.next()
		if err != nil {
			t.Fatal(err)
		}
		again := newHub(t, room.Config{Log: log}) // the server has been started again
		join(t, again, "silent", "alice", after(e.Sequence)).want("LIVE")
	})
}

// Nobody who was in a room before its first message has missed anything, however much
// of other rooms has been discarded since.
func TestWhoCameBeforeTheFirstMessageHasMissedNothing(t *testing.T) {
	for name, from := range map[string]func(log *roomtest.Memory) room.Position{
		"live":               func(*roomtest.Memory) room.Position { return live },
		"from the beginning": func(*roomtest.Memory) room.Position { return beginning },
		"after a cursor": func(log *roomtest.Memory) room.Position {
			_, last, _ := log.Span(context.Background())
			return after(last)
		},
	} {
		t.Run(name, func(t *testing.T) {
			log := roomtest.NewMemory()
			fillMore(t, log, "other", 5)
			hub := newHub(t, room.Config{Log: log, Queue: 4, Lag: time.Hour})
			bob := join(t, hub, "silent", "bob", from(log))
			bob.want("LIVE")
			fillMore(t, log, "other", 5)
			_, last, err := log.Span(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			log.DiscardBefore(last)
			fillRoom(t, hub, "silent", 20) // more than the ring holds
			for range 20 {
				readTo(t, bob, "filler: filling")
			}
		})
	}
}
