package room_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	chatpb "securechat/proto/chat"
	"securechat/server/room"
	"securechat/server/room/roomtest"
)

// countingLog counts the entries read, and fails reads while it is told to.
type countingLog struct {
	room.Log
	read atomic.Int64
	fail atomic.Bool
}

func (l *countingLog) Read(ctx context.Context, key room.Key, after uint64, limit int) ([]room.Entry, bool, error) {
	if l.fail.Load() {
		return nil, false, room.ErrUnavailable
	}
	entries, more, err := l.Log.Read(ctx, key, after, limit)
	l.read.Add(int64(len(entries)))
	return entries, more, err
}

// Who joins does not wait for a long room to be read through. Who posts with an
// id does, once.
func TestARoomIsReadThroughForItsIdsOnly(t *testing.T) {
	memory := roomtest.NewMemory()
	const count = 3000
	fill(t, memory, count, func(int) room.Key { return "ops" })
	log := &countingLog{Log: memory}
	hub := newHub(t, room.Config{Log: log})
	alice := joinLive(t, hub, "ops", "alice")
	alice.post("", "no id")
	alice.want("ack no id")
	if read := log.read.Load(); read > 0 {
		t.Errorf("%d entries were read for a member that begins live", read)
	}
	log.fail.Store(true)
	if err := alice.Post(t.Context(), room.Posting{ID: "1", Text: "x"}); !errors.Is(err, room.ErrUnavailable) {
		t.Errorf("posted though the ids cannot be read: %v", err)
	}
	log.fail.Store(false)
	for _, id := range []string{"1", "2", "1"} {
		alice.post(id, id)
		alice.want("ack " + id)
	}
	if read := log.read.Load(); read < count || read > count+1 {
		t.Errorf("%d entries were read for the ids of %d", read, count)
	}
}

// What is stored while the ids are being read is known, too.
func TestIdsPostedWhileIdsAreRead(t *testing.T) {
	memory := roomtest.NewMemory()
	fill(t, memory, 2000, func(int) room.Key { return "ops" })
	hub := newHub(t, room.Config{Log: memory})
	sessions := make([]*session, 4)
	for i := range sessions {
		sessions[i] = joinLive(t, hub, "ops", "alice")
	}
	firsts := make(chan room.Entry, len(sessions))
	for _, s := range sessions {
		go func() {
			s.post("same", "text")
			firsts <- s.wantAck()
		}()
	}
	first := <-firsts
	for range sessions[1:] {
		wantSame(t, <-firsts, first)
	}
}

// What an append under way has stored is not replayed before it returns, not even
// from the log, and then it is its author's acknowledgement.
func TestAReplayEndsWhereTheRoomIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := roomtest.NewMemory()
		hub := newHub(t, room.Config{Log: log, Queue: 4})
		fill(t, log, 10, func(int) room.Key { return "ops" })
		alice := join(t, hub, "ops", "alice", beginning)
		bob := join(t, hub, "ops", "bob", beginning)
		release := log.HoldAnswers()
		alice.post("1", "under way")
		synctest.Wait() // it is in the log
		for i := range 10 {
			alice.want(fmt.Sprint("alice: ", i))
			bob.want(fmt.Sprint("alice: ", i))
		}
		alice.want("LIVE", "JOINED bob")
		alice.wantNothing(time.Second)
		bob.want("LIVE")
		bob.wantNothing(time.Second)
		release()
		alice.want("ack under way")
		bob.want("alice: under way")
	})
}

// A post of one who is still replaying is acknowledged at its place.
func TestAnAcknowledgementWithinTheReplay(t *testing.T) {
	hub := newHub(t, room.Config{Log: roomtest.NewMemory(), Queue: 4})
	fillRoom(t, hub, "ops", 10)
	alice := join(t, hub, "ops", "alice", beginning)
	watcher := joinLive(t, hub, "ops", "watcher")
	alice.post("1", "mine")
	readTo(t, watcher, "alice: mine")
	fillRoom(t, hub, "ops", 10) // the ring has it no more
	for range 10 {
		alice.want("filler: filling")
	}
	alice.post("1", "mine again")
	fillRoom(t, hub, "ops", 2)
	got := map[string]int{}
	for got["filler: filling"] < 12 || got["ack mine"] < 2 {
		e, err := alice.next()
		if err != nil {
			t.Fatal(err)
		}
		if got[show(e)]++; e.Entry.User == "alice" && e.Kind == chatpb.Kind_MESSAGE {
			t.Errorf("its own message came as %s", show(e))
		}
	}
}

// Who has not been given LIVE has not begun: it is not cut, and misses nothing.
func TestWhoHasNotBegunIsNotCut(t *testing.T) {
	hub := newHub(t, room.Config{Log: roomtest.NewMemory(), Queue: 4})
	fillRoom(t, hub, "ops", 2)
	for name, from := range map[string]room.Position{"live": live, "replay": beginning} {
		t.Run(name, func(t *testing.T) {
			alice := join(t, hub, "ops", "alice", from)
			fillRoom(t, hub, "ops", 20)
			got := map[string]int{}
			for got["filler: filling"] < 20 || got["LIVE"] < 1 {
				e, err := alice.next()
				if err != nil {
					t.Fatalf("after %v: %v", got, err)
				}
				got[show(e)]++
			}
		})
	}
}

func TestARoomThatNobodyUsesIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub, log := memoryHub(t)
		alice := joinLive(t, hub, "ops", "alice")
		joinLive(t, hub, "used", "bob")
		alice.post("1", "1")
		first := alice.wantAck()
		time.Sleep(time.Hour) // the bubble's clock
		if rooms := hub.Stats().Rooms; rooms != 2 {
			t.Fatalf("%d rooms are loaded, want 2", rooms)
		}
		// A post that is under way keeps the room.
		release := log.HoldAppends()
		alice.post("2", "2")
		synctest.Wait()
		alice.Leave()
		time.Sleep(time.Hour) // the bubble's clock
		if rooms := hub.Stats().Rooms; rooms != 2 {
			t.Fatalf("%d rooms are loaded, want 2", rooms)
		}
		release()
		time.Sleep(time.Hour) // the bubble's clock
		if rooms := hub.Stats().Rooms; rooms != 1 {
			t.Fatalf("%d rooms are loaded, want 1", rooms)
		}
		alice = joinLive(t, hub, "ops", "alice")
		alice.post("1", "1")
		wantSame(t, alice.wantAck(), first)
		wantStored(t, log, "ops", "alice: 1", "alice: 2")
	})
}

// Ids of discarded messages are forgotten, and a room at rest keeps no events.
func TestARoomAtRestKeepsLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := roomtest.NewMemoryWithin(roomtest.Limits{MaxPerRoom: 10})
		hub := newHub(t, room.Config{Log: log})
		alice := joinLive(t, hub, "ops", "alice")
		const count = 10_000
		for i := range count {
			alice.post(fmt.Sprint(i), "text")
			alice.wantAck()
			if i%1000 == 0 {
				time.Sleep(time.Second) // the bubble's clock
			}
		}
		time.Sleep(time.Minute) // the bubble's clock
		if ids, events := hub.Kept("ops"); ids > count/2 || events > 0 {
			t.Errorf("%d ids and %d events are kept", ids, events)
		}
		alice.post(fmt.Sprint(count-1), "again")
		if e := alice.wantAck(); e.Text != "text" {
			t.Errorf("acknowledged %+v", e)
		}
	})
}
