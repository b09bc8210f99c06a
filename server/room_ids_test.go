package server_test

import (
	"testing"

	"securechat/server/room"
)

// The ids of a room are read ahead for who may say something there, and not for who
// only listens.
func TestIDsAreReadAheadForThoseWhoMaySend(t *testing.T) {
	log := newHeldLog(t)
	log.letGo() // it counts only
	draft := room.Draft{Entry: room.Entry{Room: "held", User: "alice", Text: "hello", ID: "1"}}
	if _, err := log.Append(t.Context(), []room.Draft{draft}); err != nil {
		t.Fatal(err)
	}
	c := openRooms(t, onLog(log))
	c.join(c.realm.User("reader", rights("r", "*")), "held")
	loaded := log.held.Load()
	c.join(c.realm.User("another", rights("r", "*")), "held")
	if n := log.held.Load(); n != loaded {
		t.Errorf("the room is read %d times for who only listens", n-loaded)
	}
	c.join(c.member("writer"), "held")
	waitFor(t, "reading of ids", func() bool { return log.held.Load() > loaded })
}
