package room_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"securechat/server/room"
	"securechat/server/room/jetstream"
)

func openEmbedded(t testing.TB, dir string) *jetstream.Local {
	t.Helper()
	log, err := jetstream.Embedded(jetstream.EmbeddedConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return log
}

// The hub on the log that it is made for: many senders, then a restart, after
// which everything is there, in the same order, and known again.
func TestOnTheEmbeddedLog(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	log := openEmbedded(t, dir)
	hub := room.New(room.Config{Log: log, Queue: 1 << 14, QueueBytes: 64 << 20})
	r := record(t, "ops")
	const senders, messages = 6, 100
	for i := range senders {
		r.talk(hub, fmt.Sprintf("user-%d", i/2), fmt.Sprintf("sender-%d", i), messages)
	}
	r.tasks.Wait()
	closeHub(t, hub)
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}

	log = openEmbedded(t, dir)
	defer log.Close()
	hub = room.New(room.Config{Log: log})
	defer closeHub(t, hub)
	again := joinLive(t, hub, "ops", "user-0")
	again.post("sender-0-0", "again")
	ack := again.wantAck()
	r.history.Acknowledged(ack.User, ack.ID, ack.Sequence)
	r.resume(hub, "reader", 77, senders*messages)
	r.tasks.Wait()
	r.check()
	again.Leave()
}
