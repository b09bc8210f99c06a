package room

import (
	"reflect"
	"testing"
)

// What is taken for a note is one that this node could have sent, and telling it
// changes nothing twice.
func FuzzNotes(f *testing.F) {
	f.Add(note{Node: "n", Kind: noteAsk}.encode())
	f.Add(note{Node: "n", Kind: noteTyping, User: "alice"}.encode())
	f.Add(note{Node: "n", Kind: noteUsers, Number: 3, Parts: 2, Part: 1, Users: []noteUser{{"alice", 1}, {"bob", 2}}}.encode())
	f.Add([]byte(`{"v":1,"node":"n","kind":"users","number":1,"parts":1,"users":null}`))
	f.Add([]byte(`{"v":1,"node":"n","kind":"users","number":1,"parts":1000000000}`))
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := parseNote(b)
		if err != nil {
			return
		}
		again, err := parseNote(n.encode())
		if err != nil {
			t.Fatalf("%q is taken and its own encoding %q is not", b, n.encode())
		}
		if len(n.Users) == 0 {
			n.Users, again.Users = nil, nil
		}
		if !reflect.DeepEqual(n, again) {
			t.Fatalf("%+v becomes %+v", n, again)
		}
		if n.Kind != noteUsers {
			return
		}
		var p presence
		changed := p.list(n)
		if n.Parts == 1 && len(p.byName()) != len(changed) {
			t.Errorf("%d have come, %d are there", len(changed), len(p.byName()))
		}
		if repeated := p.list(n); len(repeated) > 0 {
			t.Errorf("told again, %v have changed", repeated)
		}
	})
}

// A list that does not fit into a note comes in parts, in any order.
func TestListsInParts(t *testing.T) {
	var users []noteUser
	for i := range 3*notedUsers + 1 {
		users = append(users, noteUser{User: string(rune('a'+i%26)) + string(rune('a'+i/26)), Since: int64(i)})
	}
	notes := lists("n", 7, users)
	if len(notes) != 4 {
		t.Fatalf("%d notes", len(notes))
	}
	var p presence
	for _, i := range []int{2, 0, 2, 3} {
		n, err := parseNote(notes[i].encode())
		if err != nil {
			t.Fatal(err)
		}
		if changed := p.list(n); changed != nil {
			t.Fatalf("%d of a list that is not complete", len(changed))
		}
	}
	if changed := p.list(&notes[1]); len(changed) != len(users) {
		t.Errorf("%d users, want %d", len(changed), len(users))
	}
	for _, n := range lists("n", 8, nil) {
		if changed := p.list(&n); len(changed) != len(users) || len(p.byName()) != 0 {
			t.Errorf("%d users have gone, %d are there", len(changed), len(p.byName()))
		}
	}
}
