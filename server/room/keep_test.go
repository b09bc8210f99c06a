package room_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"securechat/server/room"
	"securechat/server/room/roomtest"
)

func wantRooms(t *testing.T, hub *room.Hub, want int) {
	t.Helper()
	if rooms := hub.Stats().Rooms; rooms != want {
		t.Errorf("%d rooms are loaded, want %d", rooms, want)
	}
}

// Who opens one room after the other leaves nothing behind for long.
func TestRoomsThatWereOnlyLookedAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub, _ := memoryHub(t)
		for i := range 100 {
			joinLive(t, hub, room.Key(fmt.Sprint("r", i)), "alice").Leave()
		}
		wantRooms(t, hub, 100)      // for those who come back at once
		time.Sleep(6 * time.Second) // the bubble's clock
		wantRooms(t, hub, 0)
	})
}

// However quickly it goes, there is a bound.
func TestManyRoomsThatWereOnlyLookedAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub, _ := memoryHub(t)
		for i := range 3000 {
			joinLive(t, hub, room.Key(fmt.Sprint("r", i)), "alice").Leave()
		}
		time.Sleep(time.Second) // the bubble's clock
		wantRooms(t, hub, 1024)
	})
}

// A room whose ids have been read stays for those who come back within half an
// hour, since reading them may take long.
func TestARoomWithIdsStaysLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub, _ := memoryHub(t)
		alice := joinLive(t, hub, "ops", "alice")
		alice.post("1", "text")
		alice.wantAck()
		alice.Leave()
		time.Sleep(20 * time.Minute) // the bubble's clock
		wantRooms(t, hub, 1)
		time.Sleep(11 * time.Minute) // the bubble's clock
		wantRooms(t, hub, 0)
	})
}

// Rooms that nobody uses have a bound on their ids together: those that have been
// unused for the longest go.
func TestUnusedRoomsHaveABoundOnTheirIds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := roomtest.NewMemory()
		hub := newHub(t, room.Config{Log: log}.WithUnusedIDs(10))
		for i, posts := range []int{4, 4, 4, 2} { // the last three fit
			alice := joinLive(t, hub, room.Key(fmt.Sprint("r", i)), "alice")
			for id := range posts {
				alice.post(fmt.Sprint(id), "text")
				alice.wantAck()
			}
			alice.Leave()
			time.Sleep(time.Millisecond) // the bubble's clock
		}
		time.Sleep(time.Minute) // the bubble's clock
		wantRooms(t, hub, 3)
		if ids, _ := hub.Kept("r3"); ids != 2 {
			t.Errorf("%d ids are kept of the room that was used last", ids)
		}
	})
}

// A room in which something has yet to be stored stays, though nobody is in it: who
// comes meanwhile is told of that.
func TestARoomStaysWhilePostsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub, log := memoryHub(t)
		carol := joinLive(t, hub, "other", "carol")
		release := log.HoldAppends()
		carol.post("", "holds up")
		synctest.Wait()
		alice := joinLive(t, hub, "ops", "alice")
		alice.post("", "waits")
		alice.Leave()
		time.Sleep(time.Minute) // the bubble's clock
		bob := joinLive(t, hub, "ops", "bob")
		release()
		bob.want("alice: waits")
	})
}

// So does one whose ids are being read, lest they be read again.
func TestARoomStaysWhileItsIdsAreRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &slowLog{Memory: roomtest.NewMemory(), room: "ops", release: make(chan struct{})}
		filling := room.New(room.Config{Log: log.Memory})
		fillRoom(t, filling, "ops", 3)
		closeHub(t, filling)
		hub := newHub(t, room.Config{Log: log})
		alice := joinLive(t, hub, "ops", "alice")
		alice.Prepare()
		synctest.Wait()
		alice.Leave()
		time.Sleep(time.Minute) // the bubble's clock
		wantRooms(t, hub, 1)
		close(log.release)
		time.Sleep(time.Minute) // the bubble's clock
		wantRooms(t, hub, 0)
	})
}

// A room keeps its events for a while after all have had them, for those who come back,
// and for who has not, as long as there is no want of memory.
func TestEventsStayForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub, _ := memoryHub(t)
		alice := joinLive(t, hub, "ops", "alice")
		bob := joinLive(t, hub, "ops", "bob")
		alice.want("JOINED bob")
		alice.post("", "text")
		alice.want("ack text")
		wantEvents := func(want bool) {
			t.Helper()
			if _, events := hub.Kept("ops"); events > 0 != want {
				t.Errorf("the room keeps %d events", events)
			}
		}
		time.Sleep(time.Minute) // the bubble's clock
		wantEvents(true)        // bob has not had it
		bob.want("alice: text")
		bob.post("", "text")
		bob.want("ack text")
		alice.want("bob: text")
		time.Sleep(5 * time.Second) // the bubble's clock
		wantEvents(true)
		time.Sleep(10 * time.Second) // the bubble's clock
		wantEvents(false)
	})
}
