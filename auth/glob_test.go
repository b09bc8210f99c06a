package auth

import (
	"path"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestMalformedGlobs(t *testing.T) {
	for _, glob := range []string{"[", "[a", "[a-", "[a-]", "[]", "[^]", "[-a]", "[]a]", `[\`, `a\`, "x[", "a[b-a]", "\xff", "[\xff]"} {
		if err := CheckGlob(glob); err == nil {
			t.Errorf("%q is taken for a glob", glob)
		}
		for _, name := range []string{"", glob, "a", "b"} {
			if MatchGlob(glob, name) {
				t.Errorf("%q is malformed and matches %q", glob, name)
			}
		}
	}
}

func TestMatchGlob(t *testing.T) {
	for _, test := range []struct {
		glob, name string
		want       bool
	}{
		{"", "a", false},
		{"a", "", false},
		{"?", "", false},
		{"[^a]", "", false},
		{"a*b", "a/c", false},
		{"a*b*c", "abcab", false},
		{"[^a-c/]", "/", false},
		{`\*`, "a", false},
		{"ab", "abc", false},
		{"*?", "", false},

		{"", "", true},
		{"*", "", true},
		{"*", "@a/b", true},
		{"@?/b", "@a/b", true},
		{"@a?b", "@a/b", true},
		{"@a[!-~]b", "@a/b", true}, // a range in which the slash is
		{"@[!-~]*", "@/x", true},
		{"[^a]", "/", true},
		{"@a/*", "@a/b/c", true},
		{"a*b*c", "a/b/b/c", true},
		{"*ü?", "Jürgen ü!", true},
		{`\*\?\[\\`, `*?[\`, true},
		{`[\]\-\^]`, "-", true},
		{"[a^]", "^", true},
		{strings.Repeat("*a", 20) + "*", strings.Repeat("a", 64), true},
		{strings.Repeat("*a", 60) + "*b", strings.Repeat("a", 64), false}, // in time that does not explode
	} {
		if got := MatchGlob(test.glob, test.name); got != test.want {
			t.Errorf("%q and %q: %v, want %v", test.glob, test.name, got, test.want)
		}
	}
}

// Where no slash is, a glob means what it means to path.Match, which takes some
// ranges that hold nothing besides.
func FuzzMatchGlob(f *testing.F) {
	for _, seed := range [][2]string{{"a*b", "acb"}, {"[^a-c]?", "dx"}, {`\*[\]]`, "*]"}, {"**a", "ba"}, {"[a-b-c]", "-"}, {"*[", "a"}, {"ü*", "ü"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, glob, name string) {
		got := MatchGlob(glob, name)
		if strings.Contains(name, "/") || !utf8.ValidString(glob) || !utf8.ValidString(name) || CheckGlob(glob) != nil {
			if got && CheckGlob(glob) != nil {
				t.Errorf("%q is malformed and matches %q", glob, name)
			}
			return
		}
		if want, err := path.Match(glob, name); got != want || err != nil {
			t.Errorf("%q and %q: %v, want %v, %v", glob, name, got, want, err)
		}
	})
}
