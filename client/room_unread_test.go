package client

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"securechat/auth/authtest"
	"securechat/server"
	"securechat/server/room/roomtest"
)

// A room that moves while its program does not read, and comes back after the
// server has lost patience with it, misses nothing of what others say, and nothing
// of its own is lost or stored twice.
func TestRoomMoveUnread(t *testing.T) {
	t.Parallel()
	const moves, each = 3, 80
	text := strings.Repeat("x", 32<<10) // more than backlog, windows and queue hold, with each move
	realm := authtest.NewRealm(t)
	closed := make(chan struct{}, 1)
	address := startServer(t, realm, withRooms(roomtest.NewMemory()), func(c *server.Config) {
		c.Rooms.Queue, c.Rooms.Lag = 32, 300*time.Millisecond
		c.Limits.Stall = time.Second
		c.Log = slog.New(slog.NewJSONHandler(writer(func(line []byte) {
			if bytes.Contains(line, []byte("connection closed")) {
				select {
				case closed <- struct{}{}:
				default: // it has been told
				}
			}
		}), nil))
	})
	w := walletOf(realm.User("alice", chatter))
	listen, all := events()
	conn := dial(t, nil, address, listen, w.use)
	alice := join(t, conn, "ops")
	bob := join(t, dial(t, realm.User("bob", chatter), address), "ops")
	var want []string
	say := func(room *Room, text string) {
		t.Helper()
		_, err := room.Send(patient(t), text)
		must(t, err)
		want = append(want, text)
	}
	for i := range moves {
		for j := range each {
			say(bob, fmt.Sprint(i, " ", j, " ", text))
		}
		if i == 0 { // later the room reads ahead, since it sends
			select {
			case <-closed:
			case <-patient(t).Done():
				t.Fatal("the server waits")
			}
		}
		w.rotate(realm.User("alice", chatter))
		wantMoved(t, all, 1)
		say(alice, fmt.Sprint("mine ", i))
	}
	var last uint64
	for i, text := range want {
		m, err := alice.Receive(patient(t))
		must(t, err)
		if m.Text != text || m.Sequence <= last {
			t.Fatalf("got %.10q (%d) at place %d after %d, want %.10q", m.Text, m.Sequence, i, last, text)
		}
		last = m.Sequence
	}
	must(t, alice.Close())
	wantAllLeft(t, conn)
}
