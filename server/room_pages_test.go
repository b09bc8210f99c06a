package server_test

import (
	"fmt"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"securechat/auth/authtest"
	chatpb "securechat/proto/chat"
	"securechat/server"
)

func (c *chatroom) client(user *authtest.User) chatpb.ChatClient {
	return chatpb.NewChatClient(user.Dial(c.address))
}

func TestHistoryPages(t *testing.T) {
	c := openRooms(t)
	reader := c.client(c.realm.User("carol", rights("r", "lobby")))
	empty, err := reader.History(t.Context(), &chatpb.HistoryRequest{Room: "lobby"})
	if err != nil || len(empty.Messages) != 0 || empty.More {
		t.Errorf("a room that nobody has used: %v, %v", empty, err)
	}
	const total = 70
	alice, other := c.join(c.member("alice"), "lobby"), c.join(c.member("bob"), "elsewhere")
	var sequences []uint64
	for i := range total {
		alice.send(&chatpb.ChatMessage{Message: fmt.Sprint(i), Id: fmt.Sprint("id-", i)})
		other.say("noise")
		sequences = append(sequences, alice.heard().Sequence)
	}
	for name, test := range map[string]struct {
		request  *chatpb.HistoryRequest
		from, to int // of the messages
		more     bool
	}{
		"the newest":           {&chatpb.HistoryRequest{}, total - 50, total, true},
		"the newest few":       {&chatpb.HistoryRequest{Limit: 3}, total - 3, total, true},
		"all of them":          {&chatpb.HistoryRequest{Limit: 9999}, 0, total, false},
		"from the beginning":   {&chatpb.HistoryRequest{After: proto.Uint64(0), Limit: 20}, 0, 20, true},
		"forwards":             {&chatpb.HistoryRequest{After: &sequences[9], Limit: 20}, 10, 30, true},
		"forwards to the end":  {&chatpb.HistoryRequest{After: &sequences[59], Limit: 20}, 60, total, false},
		"past the end":         {&chatpb.HistoryRequest{After: &sequences[total-1]}, total, total, false},
		"backwards":            {&chatpb.HistoryRequest{Before: &sequences[30], Limit: 20}, 10, 30, true},
		"backwards to the end": {&chatpb.HistoryRequest{Before: &sequences[5], Limit: 20}, 0, 5, false},
		"before the beginning": {&chatpb.HistoryRequest{Before: &sequences[0]}, 0, 0, false},
	} {
		test.request.Room = "lobby"
		page, err := reader.History(t.Context(), test.request)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var got []uint64
		for _, m := range page.Messages {
			got = append(got, m.Sequence)
		}
		if !slices.Equal(got, sequences[test.from:test.to]) || page.More != test.more {
			t.Errorf("%s: %v, more %v, want %v, %v", name, got, page.More, sequences[test.from:test.to], test.more)
		}
		for i, m := range page.Messages {
			n := test.from + i
			if m.User != "alice" || m.Message != fmt.Sprint(n) || m.Id != fmt.Sprint("id-", n) || m.Kind != chatpb.Kind_MESSAGE || m.Timestamp == "" {
				t.Errorf("%s: message %d is %v", name, n, m)
			}
		}
	}
}

// Each caller's list has what that caller may open, under the caller's names.
func TestRoomsAreListedForTheirCaller(t *testing.T) {
	c := openRooms(t)
	alice := c.member("alice")
	newest := map[string]uint64{}
	for _, name := range []string{"ops", "lobby", "team-1", "team-2", "@bob", "@alice"} {
		s := c.join(alice, name)
		s.say("hello")
		newest[name] = s.heard().Sequence
	}
	c.join(c.member("bob"), "@carol")
	c.server.SetRoomPolicy(parsePolicy(t, "room ops bob\n"))
	for name, test := range map[string]struct {
		user *authtest.User
		want []string
	}{
		"all that there is":    {alice, []string{"@alice", "@bob", "lobby", "team-1", "team-2"}},
		"the other of a pair":  {c.member("bob"), []string{"@alice", "@carol", "lobby", "ops", "team-1", "team-2"}},
		"a stranger":           {c.member("dave"), []string{"lobby", "team-1", "team-2"}},
		"some by a glob":       {c.realm.User("erin", rights("r", "team-*")), []string{"team-1", "team-2"}},
		"no pairs in the glob": {c.realm.User("alice", rights("r", "*")), []string{"lobby", "team-1", "team-2"}},
		"none":                 {c.realm.User("frank", rights("r")), nil},
	} {
		client := c.client(test.user)
		// Page by page, as well as all at once.
		for _, limit := range []uint32{0, 1, 2, 1000} {
			var got []string
			after := ""
			for {
				page, err := client.Rooms(t.Context(), &chatpb.RoomsRequest{After: after, Limit: limit})
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if limit > 0 && len(page.Rooms) > int(limit) {
					t.Errorf("%s: a page has %d rooms, want %d at most", name, len(page.Rooms), limit)
				}
				for _, room := range page.Rooms {
					got, after = append(got, room.Name), room.Name
					if test.user == alice && room.Sequence != newest[room.Name] {
						t.Errorf("the newest of %s is %d, want %d", room.Name, room.Sequence, newest[room.Name])
					}
				}
				if !page.More {
					break
				}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("%s, %d a page: %q, want %q", name, limit, got, test.want)
			}
		}
	}
}

func TestMembersOfARoom(t *testing.T) {
	c := openRooms(t)
	client := c.client(c.realm.User("carol", rights("r", "lobby", "empty")))
	present := func(name string) (users []string) {
		answer, err := client.Members(t.Context(), &chatpb.MembersRequest{Room: name})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range answer.Members {
			users = append(users, m.User)
			if m.Since == "" {
				t.Errorf("%s is there since never", m.User)
			}
		}
		return users
	}
	bob := c.member("bob")
	one, _ := c.join(bob, "lobby"), c.join(bob, "lobby")
	c.join(c.member("alice"), "lobby")
	if users := present("lobby"); !slices.Equal(users, []string{"alice", "bob"}) {
		t.Errorf("in the room are %q, want alice and bob", users)
	}
	if users := present("empty"); users != nil {
		t.Errorf("in a room that nobody uses are %q", users)
	}
	if err := one.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	_ = one.end()
	if users := present("lobby"); !slices.Equal(users, []string{"alice", "bob"}) {
		t.Errorf("in the room are %q, and bob has a stream left", users)
	}
}

// Without rooms there are none to list, and that is no error.
func TestNoRoomsToList(t *testing.T) {
	realm := authtest.NewRealm(t)
	conn := realm.User("alice", rights("r", "*")).Dial(start(t, realm, server.Config{}))
	answer, err := chatpb.NewChatClient(conn).Rooms(t.Context(), &chatpb.RoomsRequest{})
	if err != nil || len(answer.Rooms) != 0 || answer.More {
		t.Errorf("got %v, %v", answer, err)
	}
}
