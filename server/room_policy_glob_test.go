package server

import (
	"fmt"
	"strings"
	"testing"

	"securechat/auth"
)

// What a glob's ends rule out it does not match, and all else is as MatchGlob says.
func TestGlobsOfAPolicy(t *testing.T) {
	globs := []string{
		"*", "?", "a*", "*a", "a*a", "a?b", "[ab]", "[ab]c", "c[ab]", `[\]a]`, `[\]a]b`, `\a`, `b\a`, `\ab`, `*\a`, `*\ab`, `a\*`, `\\`, `\\a`, `a\\`, `a]`, `*]a`, `]*a`,
		"ab*ba", "aba*", "*ü", "ü*", "@*", "@a*b", "[ü]a", `\ü`,
	}
	names := []string{"", "a", "b", "ab", "ba", "aa", "aba", "abba", "ac", "bc", "ca", "cb", "]", "]a", "]b", "a]", "x]a", "]xa", "*", "a*", `\`, `\a`, `a\`, "ü", "aü", "üa", "@", "@ab", "@axb", "xa", "xab"}
	for _, text := range globs {
		for _, name := range names {
			if got, want := newGlob(text).matches(name), auth.MatchGlob(text, name); got != want {
				t.Errorf("%q and %q: %v, want %v", text, name, got, want)
			}
		}
	}
}

// BenchmarkPolicy says what holding one stream against the largest policy takes,
// where the globs have ends of their own and where they have none.
func BenchmarkPolicy(b *testing.B) {
	const room = "a-room-with-quite-a-long-name-of-48-characters-0x"
	for _, glob := range []string{"team-%03d-*", "a-room-with-quite-a-%03d-*", "*-%03d", "*-%03d-*"} {
		b.Run(glob, func(b *testing.B) {
			var text strings.Builder
			for i := range maxGlobs {
				fmt.Fprintf(&text, "room "+glob+" alice\n", i)
			}
			policy, err := ParseRoomPolicy([]byte(text.String()))
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				policy.Allows("bob", room)
			}
		})
	}
}
