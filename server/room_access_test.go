package server

import (
	"strings"
	"testing"

	"google.golang.org/grpc/metadata"

	"securechat/auth"
	"securechat/server/room"
)

func TestOpeningsThatAreRefused(t *testing.T) {
	const name, after = "chat-room", "chat-after"
	for _, test := range []struct {
		what   string
		pairs  []string
		reason auth.Reason
	}{
		{"an empty name", []string{name, ""}, auth.RoomInvalid},
		{"a capital", []string{name, "Lobby"}, auth.RoomInvalid},
		{"a space", []string{name, "the lobby"}, auth.RoomInvalid},
		{"a dot", []string{name, "a.b"}, auth.RoomInvalid},
		{"a wildcard of the log's", []string{name, ">"}, auth.RoomInvalid},
		{"a hyphen first", []string{name, "-a"}, auth.RoomInvalid},
		{"64 bytes", []string{name, strings.Repeat("a", 64)}, auth.RoomInvalid},
		{"two names", []string{name, "a", name, "b"}, auth.RoomInvalid},
		{"the same name twice", []string{name, "a", name, "a"}, auth.RoomInvalid},
		{"two names in one", []string{name, "a,b"}, auth.RoomInvalid},
		{"nobody", []string{name, "@"}, auth.RoomInvalid},
		{"the service itself", []string{name, "@Server"}, auth.RoomInvalid},
		{"the service itself, escaped", []string{name, "@%53erver"}, auth.RoomInvalid},
		{"half an escape", []string{name, "@a%4"}, auth.RoomInvalid},
		{"a byte that is no text", []string{name, "@a%ff"}, auth.RoomInvalid},
		{"a character of control", []string{name, "@a%00"}, auth.RoomInvalid},
		{"not in normal form", []string{name, "@u%CC%88"}, auth.RoomInvalid},
		{"a name of 65 bytes", []string{name, "@" + strings.Repeat("a", 65)}, auth.RoomInvalid},

		{"a cursor without a room", []string{after, "7"}, auth.CursorInvalid},
		{"two cursors", []string{name, "a", after, "7", after, "7"}, auth.CursorInvalid},
		{"an empty cursor", []string{name, "a", after, ""}, auth.CursorInvalid},
		{"a negative cursor", []string{name, "a", after, "-1"}, auth.CursorInvalid},
		{"a signed cursor", []string{name, "a", after, "+1"}, auth.CursorInvalid},
		{"a hexadecimal cursor", []string{name, "a", after, "0x7"}, auth.CursorInvalid},
		{"a fraction", []string{name, "a", after, "7.0"}, auth.CursorInvalid},
		{"more than 64 bits", []string{name, "a", after, "18446744073709551616"}, auth.CursorInvalid},
	} {
		_, _, err := openingOf(metadata.NewIncomingContext(t.Context(), metadata.Pairs(test.pairs...)), "alice")
		if reason, _ := auth.ReasonOf(err); reason != test.reason {
			t.Errorf("%s: %v, want %s", test.what, err, test.reason)
		}
	}
}

func TestOpenings(t *testing.T) {
	for _, test := range []struct {
		what   string
		pairs  []string
		inRoom bool
		name   string
		key    room.Key
		from   room.Position
	}{
		{"the echo", nil, false, "", "", room.Position{}},
		{"a room", []string{"chat-room", "ops_2-a"}, true, "ops_2-a", "ops_2-a", room.Position{}},
		{"from the beginning", []string{"chat-room", "0", "chat-after", "0"}, true, "0", "0", room.Position{Replay: true}},
		{"from the last there can be", []string{"chat-room", "a", "chat-after", "18446744073709551615"}, true, "a", "a", room.Position{Replay: true, After: 1<<64 - 1}},
		{"a pair", []string{"chat-room", "@bob"}, true, "@bob", room.Pair("bob", "alice"), room.Position{}},
		{"a name that has to be escaped", []string{"chat-room", "@J%C3%BCrgen 50%25"}, true, "@Jürgen 50%", room.Pair("Jürgen 50%", "alice"), room.Position{}},
	} {
		o, inRoom, err := openingOf(metadata.NewIncomingContext(t.Context(), metadata.Pairs(test.pairs...)), "alice")
		if err != nil || inRoom != test.inRoom || o.name != test.name || o.key != test.key || o.from != test.from {
			t.Errorf("%s: %+v, %v, %v", test.what, o, inRoom, err)
		}
	}
}

// What answers call a room, a request finds it by.
func FuzzPlaceNamed(f *testing.F) {
	for _, name := range []string{"lobby", "@bob", "@J%C3%BCrgen 50%25", "@a/b", "@@bob", "@%40", "", "@"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, value string) {
		p, err := placeNamed(value, "alice")
		if err != nil {
			return
		}
		if strings.ContainsAny(string(p.key), " *>\x00\r\n") || p.key == "" {
			t.Fatalf("%q has the key %q", value, p.key)
		}
		name, mine := p.key.NameFor("alice")
		if !mine || name != p.name {
			t.Fatalf("%q is called %q, and by its key %q", value, p.name, name)
		}
		again, err := placeNamed(shownAs(p.name), "alice")
		if err != nil || again != p {
			t.Fatalf("%q is shown as %q, which names %+v, %v", value, shownAs(p.name), again, err)
		}
	})
}
