package room_test

import (
	"errors"
	"strings"
	"testing"

	"securechat/server/room"
)

func TestNamesOfRooms(t *testing.T) {
	for _, name := range []string{
		"", "-a", "_a", "A", "ä", "a b", "a.b", "a*", "a>", "@bob", "a\n", "a\x00", strings.Repeat("a", 64),
	} {
		if key, err := room.Named(name); !errors.Is(err, room.ErrName) {
			t.Errorf("Named(%q) = %q, %v", name, key, err)
		}
	}
	for _, name := range []string{"a", "0", "lobby", "a-b_c", "a-", strings.Repeat("a", 63)} {
		key, err := room.Named(name)
		if err != nil || string(key) != name {
			t.Errorf("Named(%q) = %q, %v", name, key, err)
		}
		if called, ok := key.NameFor("anybody"); !ok || called != name {
			t.Errorf("%q is called %q, %v", name, called, ok)
		}
	}
}

func TestAPairIsItsTwoUsersRoom(t *testing.T) {
	key := room.Pair("bob", "alice")
	if key != room.Pair("alice", "bob") {
		t.Error("the order of the users matters")
	}
	cases := []struct {
		user, name string
		ok         bool
	}{
		{"carol", "", false},
		{"", "", false},
		{"ali", "", false},
		{"alice", "@bob", true},
		{"bob", "@alice", true},
	}
	for _, c := range cases {
		if name, ok := key.NameFor(c.user); name != c.name || ok != c.ok {
			t.Errorf("%q calls it %q, %v", c.user, name, ok)
		}
	}
	if name, ok := room.Pair("alice", "alice").NameFor("alice"); name != "@alice" || !ok {
		t.Errorf("alice alone: %q, %v", name, ok)
	}
}

// Users' names cannot be chosen so that pairs coincide, or that a pair is a room.
func TestPairsAreDistinct(t *testing.T) {
	users := []string{"a", "b", "ab", "a.b", "@", "@.a", "*", ">", " ", "ä", "a\x00b"}
	seen := map[room.Key]string{}
	for i, a := range users {
		for _, b := range users[i:] {
			key := room.Pair(a, b)
			if before, has := seen[key]; has {
				t.Errorf("%q is the pair of %q and %q and of %s", key, a, b, before)
			}
			seen[key] = a + " and " + b
			if strings.ContainsAny(string(key), "*> \x00") || strings.Count(string(key), ".") != 2 {
				t.Errorf("%q is no subject", key)
			}
			if _, err := room.Named(string(key)); err == nil {
				t.Errorf("%q is a room's name", key)
			}
		}
	}
}

// What a log has under keys that nothing here makes is nobody's.
func TestKeysOfNoRoomAreNobodys(t *testing.T) {
	alice, bob := "YWxpY2U", "Ym9i"
	for _, key := range []room.Key{
		"", "A", "a.b", "@", "@.", "@..", "@." + room.Key(alice), "@." + room.Key(alice+"."),
		room.Key("@." + bob + "." + alice),          // in the other order
		room.Key("@." + alice + "." + bob + ".x"),   // more
		room.Key("@." + alice + "." + "Ym9j" + "!"), // no base64
		room.Key("@." + alice + "." + "Ym9ib3"),     // bits that no encoder sets
		room.Key("@x." + alice + "." + bob),
	} {
		for _, user := range []string{"alice", "bob", ""} {
			if name, ok := key.NameFor(user); ok {
				t.Errorf("%q calls %q %q", user, key, name)
			}
		}
	}
}

func FuzzKeys(f *testing.F) {
	f.Add("alice", "bob", "lobby")
	f.Add("ä", "", "@.YQ.Yg")
	f.Fuzz(func(t *testing.T, a, b, raw string) {
		if name, ok := room.Key(raw).NameFor(a); ok && !strings.HasPrefix(raw, "@") {
			if key, err := room.Named(name); err != nil || string(key) != raw {
				t.Errorf("%q is called %q", raw, name)
			}
		} else if ok && room.Pair(a, name[1:]) != room.Key(raw) {
			t.Errorf("%q calls %q %q", a, raw, name)
		}
		if a == "" || b == "" {
			return
		}
		if name, ok := room.Pair(a, b).NameFor(a); !ok || name != "@"+b {
			t.Errorf("%q calls its pair with %q %q, %v", a, b, name, ok)
		}
	})
}
