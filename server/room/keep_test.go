package room_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"securechat/server/room"
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
