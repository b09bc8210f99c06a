package jetstream_test

import (
	"errors"
	"os"
	"regexp"
	"slices"
	"testing"

	js "github.com/nats-io/nats.go/jetstream"

	"securechat/server/room"
	"securechat/server/room/roomtest"
)

// purges are the commands of the documentation that delete a room.
var purges = regexp.MustCompile(`(?m)^nats stream purge (\S+) --subject '?([^\s']+)'?`)

// What the documentation says to delete a room with deletes that room and no other.
// Who knew of its messages is told with the next append, and the room begins anew.
func TestRoomsAreDeletedAsDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../docs/rooms.md")
	if err != nil {
		t.Fatal(err)
	}
	n := startNATS(t, 1)
	config := n.config(roomtest.Limits{})
	config.Name = "" // as the program has it
	log := connect(t, config)
	defer log.Close()
	deleted := []room.Key{"ops", room.Pair("bob", "alice")}
	others := []room.Key{"oldest", "op", "ops2", room.Pair("alice", "bo"), room.Pair("alice", "alice")}
	newest := map[room.Key]uint64{}
	for _, key := range slices.Concat(others, deleted) {
		first, err := log.Append(t.Context(), []room.Draft{said(key, 0, "one"), said(key, 0, "two")})
		if err != nil {
			t.Fatal(err)
		}
		newest[key] = first + 1
	}
	purge := func(name, subject string) {
		t.Helper()
		stream, err := n.api().Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Purge(t.Context(), js.WithPurgeSubject(subject)); err != nil {
			t.Fatal(err)
		}
	}
	commands := purges.FindAllStringSubmatch(string(text), -1)
	if len(commands) != len(deleted) {
		t.Fatalf("the documentation has %d commands, want one for each of %q", len(commands), deleted)
	}
	for _, command := range commands {
		purge(command[1], command[2])
	}
	for _, key := range others {
		if got := readAll(t, log, key); len(got) != 2 {
			t.Errorf("%s has %d messages left", key, len(got))
		}
	}
	for _, key := range deleted {
		if got := readAll(t, log, key); len(got) != 0 {
			t.Errorf("%s has %d messages left", key, len(got))
		}
		var behind *room.BehindError
		if _, err := log.Append(t.Context(), []room.Draft{said(key, newest[key], "next")}); !errors.As(err, &behind) {
			t.Errorf("the next append to %s gave %v", key, err)
		} else if want := (room.BehindError{Room: key, Known: newest[key]}); *behind != want {
			t.Errorf("the next append to %s gave %+v, want %+v", key, *behind, want)
		}
		if _, err := log.Append(t.Context(), []room.Draft{said(key, 0, "anew")}); err != nil {
			t.Errorf("%s does not begin anew: %v", key, err)
		}
	}

	// What was the oldest of all might as well have grown too old.
	purge("CHAT", "chat.log.oldest")
	if _, err := log.Append(t.Context(), []room.Draft{said("oldest", newest["oldest"], "next")}); err != nil {
		t.Errorf("the next append to the room with the oldest messages gave %v", err)
	}
}
