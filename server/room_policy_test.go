package server_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"securechat/server"
)

func parsePolicy(t *testing.T, text string) *server.RoomPolicy {
	t.Helper()
	p, err := server.ParseRoomPolicy([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestRoomPoliciesRefused(t *testing.T) {
	for name, test := range map[string]struct{ text, says string }{
		"an unknown word":          {"rooms ops alice", `line 1: "rooms" is not a kind`},
		"a keyword in capitals":    {"Room ops alice", `"Room" is not a kind`},
		"a keyword in quotes":      {`"room" ops alice`, "is not a kind"},
		"the line's number":        {"# one\n\nroom ops alice\nexpel bob\n", "line 4: expel"},
		"no glob":                  {"room", "room: write"},
		"nobody":                   {"room ops", "room: write"},
		"nobody but a comment":     {"room ops # alice", "room: write"},
		"everybody and somebody":   {"room ops alice *", "stands alone"},
		"everybody twice":          {"room ops * *", "stands alone"},
		"expel without a room":     {"expel alice", "expel: write"},
		"expel of two rooms":       {"expel alice ops dev", "expel: write"},
		"expel of everybody":       {"expel * ops", "one user"},
		"a name that is nobody's":  {"room ops Server", `"Server" is no user`},
		"expel of nobody":          {"expel  \"a  b\" ops", "is no user"},
		"a glob that does not end": {"room [a alice", "is not a glob"},
		"that ends in an escape":   {`expel alice ops\`, "is not a glob"},
		"malformed after a match":  {"room x[ alice", "is not a glob"},
		// Rooms have no such names, so the line would do nothing.
		"a room in capitals":       {"expel alice Ops", "matches no room"},
		"a glob in capitals":       {"expel alice Ops-*", "matches no room"},
		"a room with a slash":      {"expel alice a/*", "matches no room"},
		"a room with a dash first": {"expel alice -ops", "matches no room"},
		"a room of 64 characters":  {"expel alice " + strings.Repeat("a", 64), "matches no room"},
		"a pair with nobody":       {"expel alice @", "is no user"},
		"a pair with the server":   {"expel alice @Server", "is no user"},
		"a glob that is too long":  {"expel alice " + strings.Repeat("*", 129), "more than 128"},
		"open quotes":              {`room ops "alice`, "do not close"},
		"an empty string":          {`room ops ""`, "is not a string"},
		"text after quotes":        {`room ops "alice"bob`, "other than a space"},
		"not UTF-8":                {"room ops al\xffice", "UTF-8"},
		"not UTF-8, in quotes":     {`room ops "al\xffice"`, "is not a string"},
		"too many globs":           {strings.Repeat("room a* alice\n", 1001), "line 1001"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := server.ParseRoomPolicy([]byte(test.text)); err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want an error that says %q", err, test.says)
			}
		})
	}
}

func TestRoomPolicy(t *testing.T) {
	const text = "\ufeff# Who may be where.\r\n" + `
room ops alice bob        # a room
room ops carol            # has several lines
room team-* bob "dave d."
room team-red eve
room team-red *
room team-[ab] "*"        # a user of that name
room quiet *
room secret alice         # mallory is not
expel mallory *
expel alice team-?
expel alice attic
expel bob @alice
` + "\troom\tcafé-* x\n"
	if _, err := server.ParseRoomPolicy([]byte(text)); err == nil {
		t.Fatal("a glob of letters that rooms do not have was taken")
	}
	p := parsePolicy(t, strings.Replace(text, "café", "cafe", 1))
	for _, test := range []struct {
		user, room string
		want       bool
		because    string
	}{
		{"dave", "ops", false, "he is on none of its lines"},
		{"alic", "ops", false, "names are compared whole"},
		{"Alice", "ops", false, "and with their case"},
		{"dave", "team-blue", false, "it is another who is named like that"},
		{"eve", "team-blue", false, "another room of the glob is open to her"},
		{"mallory", "lobby", false, "he is expelled from everywhere"},
		{"mallory", "quiet", false, "even where everybody may be"},
		{"mallory", "@alice", false, "and from pairs"},
		{"mallory", "@night/shift", false, "whatever the other is called"},
		{"alice", "team-a", false, "she is expelled, and not on the line either"},
		{"alice", "attic", false, "she is expelled from a room that is open to all"},
		{"bob", "@alice", false, "he is expelled from the pair"},
		{"bob", "team-a", true, "a glob lists him, whatever the other one does"},
		{"", "ops", false, "nobody is on the list"},

		{"alice", "ops", true, "she is on its first line"},
		{"carol", "ops", true, "she is on its second line"},
		{"dave d.", "team-blue", true, "the glob lists him"},
		{"eve", "team-red", true, "a line of its own lists her"},
		{"zoe", "team-red", true, "it is open to everybody"},
		{"*", "team-a", true, "he is on the line"},
		{"zoe", "quiet", true, "it is open to everybody"},
		{"zoe", "lobby", true, "no line is about it"},
		{"bob", "team-10", true, "the glob lists him"},
		{"alice", "@bob", true, "no line is about it"},
		{"x", "cafe-noir", true, "tabs part words, too"},
	} {
		if got := p.Allows(test.user, test.room); got != test.want {
			t.Errorf("%q in %q: %v, want %v: %s", test.user, test.room, got, test.want, test.because)
		}
	}
	var none *server.RoomPolicy
	for _, p := range []*server.RoomPolicy{none, parsePolicy(t, ""), parsePolicy(t, "# nothing")} {
		if !p.Allows("alice", "ops") {
			t.Error("a policy without lines forbids a room")
		}
	}
}

// What is written in one form of Unicode is the same user in another.
func TestRoomPolicyNamesAreNormalised(t *testing.T) {
	p := parsePolicy(t, "room ops rene\u0301\nexpel rene\u0301 attic\nroom @rene\u0301 alice\n")
	if !p.Allows("ren\u00e9", "ops") || p.Allows("ren\u00e9", "attic") || p.Allows("bob", "@ren\u00e9") {
		t.Error("the name in composed form is another's")
	}
}

func FuzzParseRoomPolicy(f *testing.F) {
	for _, seed := range []string{
		"", "room ops alice bob # c\nexpel mallory *\n", `room team-[a-c]? "dave d."`, `room "@dave d." *`, "room a\\* x", "\ufeff#", `expel "*" [^a]`,
	} {
		f.Add([]byte(seed), "alice", "ops")
	}
	f.Fuzz(func(t *testing.T, text []byte, user, room string) {
		p, err := server.ParseRoomPolicy(text)
		if err != nil {
			return
		}
		allowed := p.Allows(user, room)
		// The order of lines does not matter, nor does saying them twice.
		lines := strings.SplitAfter(strings.TrimPrefix(string(text), "\ufeff")+"\n", "\n")
		slices.Reverse(lines)
		if again, err := server.ParseRoomPolicy([]byte(strings.Join(lines, ""))); err != nil || again.Allows(user, room) != allowed {
			t.Errorf("in reverse: %v, allows %q in %q: not %v", err, user, room, allowed)
		}
		// Who is expelled from everywhere is nowhere.
		expelled, err := server.ParseRoomPolicy(fmt.Appendf(slices.Clip(text), "\nexpel zoe *"))
		if err == nil && expelled.Allows("zoe", room) {
			t.Errorf("zoe is in %q", room)
		}
	})
}
