package auth

import "testing"

func TestMayOpen(t *testing.T) {
	for name, test := range map[string]struct {
		globs []string
		room  string
		want  bool
	}{
		"no globs":                          {nil, "lobby", false},
		"another name":                      {[]string{"ops"}, "lobby", false},
		"a part of the name":                {[]string{"lob"}, "lobby", false},
		"malformed":                         {[]string{"[a-", "lobby["}, "lobby", false},
		"everything is no pair":             {[]string{"*"}, "@bob", false},
		"any character is no pair's sign":   {[]string{"?bob", "[@]bob", `\@bob`}, "@bob", false},
		"pairs are no named rooms":          {[]string{"@*"}, "lobby", false},
		"a pair with another":               {[]string{"@carol"}, "@bob", false},
		"the name":                          {[]string{"ops", "lobby"}, "lobby", true},
		"a glob":                            {[]string{"team-*"}, "team-1", true},
		"everything":                        {[]string{"*"}, "lobby", true},
		"a class":                           {[]string{"team-[0-9]"}, "team-7", true},
		"all pairs":                         {[]string{"@*"}, "@bob", true},
		"one pair":                          {[]string{"@bob"}, "@bob", true},
		"a user with a slash in the name":   {[]string{"@*"}, "@ops/night", true},
		"a slash that the glob has as well": {[]string{"@ops/*"}, "@ops/night", true},
		"a slash that the glob has not":     {[]string{"@ops-*"}, "@ops/night", false},
		"a slash in a range":                {[]string{"@ops[!-~]night"}, "@ops/night", true},
	} {
		if got := (Identity{Rooms: test.globs}).MayOpen(test.room); got != test.want {
			t.Errorf("%s: %v open %q: %v, want %v", name, test.globs, test.room, got, test.want)
		}
	}
}

// Whatever two tokens say, what they say together opens nothing that one of them
// alone does not.
func FuzzCommonRoomsAreNarrower(f *testing.F) {
	f.Add("*", "@*", "@bob")
	f.Add("*", "team-*", "team-1")
	f.Add("team-[0-9]", "team-1", "team-1")
	f.Add("@*", "@a/*", "@a/b")
	f.Add("*", "?bob", "@bob")
	f.Add("*", `\@bob`, "@bob")
	f.Add("@*", "@a[!-~]b", "@a/b")
	f.Fuzz(func(t *testing.T, a, b, room string) {
		both := Identity{Rooms: common([]string{a}, []string{b})}
		if both.MayOpen(room) && !(MatchRoom(a, room) && MatchRoom(b, room)) {
			t.Errorf("%q and %q give %q, which open %q", a, b, both.Rooms, room)
		}
	})
}

// A refresh does not take away what both tokens give, as far as it can tell: "*"
// and "@*" cover whatever can stand beside them.
func TestCommonRooms(t *testing.T) {
	for _, test := range []struct{ a, b, room string }{
		{"*", "team-[0-9]", "team-7"},
		{"*", `team\-7`, "team-7"},
		{"*", "a/*", "a/b"},
		{"@*", "@a/*", "@a/b"},
		{"@*", "@a[!-~]b", "@a/b"},
		{"@*", "@*", "@a/b"},
		{"@a?b", "@a/b", "@a/b"},
	} {
		for _, sides := range [][2]string{{test.a, test.b}, {test.b, test.a}} {
			both := Identity{Rooms: common(sides[:1], sides[1:])}
			if !both.MayOpen(test.room) {
				t.Errorf("%q give %q, which do not open %q", sides, both.Rooms, test.room)
			}
		}
	}
	if both := common([]string{"*", "ops"}, []string{"@bob", "@*"}); len(both) != 0 {
		t.Errorf("rooms and pairs have %q in common", both)
	}
}
