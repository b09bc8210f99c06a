package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"securechat/auth"
	"securechat/auth/authtest"
	"securechat/client"
	"securechat/client/clienttest"
	"securechat/cmd/internal/cli"
	"securechat/server/room"
)

// A name is refused here exactly where the server has no such room.
func FuzzCheckRoom(f *testing.F) {
	for _, name := range []string{"", "lobby", "a", "0-_", "-a", "_a", "A", "a b", "é", "a\x00", strings.Repeat("a", 63), strings.Repeat("a", 64)} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if strings.HasPrefix(name, pairSign) {
			return // the server knows which users there can be
		}
		_, want := room.Named(name)
		if got := checkRoom(name); (got == nil) != (want == nil) {
			t.Errorf("%q: got %v, the server says %v", name, got, want)
		}
	})
}

// What is meant for which room follows from how many arguments there are.
func TestAddressed(t *testing.T) {
	text := func(s string) *string { return &s }
	tests := []struct {
		name, flag string
		args       []string
		room       string
		text       *string
		refused    bool
	}{
		{"three words", "", []string{"hello", "big", "world"}, "", nil, true},
		{"two words, the first no room", "", []string{"Hello", "world"}, "", nil, true},
		{"an empty room", "", []string{"", "world"}, "", nil, true},
		{"a flag and two words", "lobby", []string{"hello", "world"}, "", nil, true},
		{"a flag that is no room", "Lobby", []string{"hello"}, "", nil, true},
		{"a text", "", []string{"lobby"}, "", text("lobby"), false},
		{"stdin", "", nil, "", nil, false},
		{"a room and a text", "", []string{"lobby", "hello world"}, "lobby", text("hello world"), false},
		{"a room and an empty text", "", []string{"lobby", ""}, "lobby", text(""), false},
		{"a flag and a text", "@bob", []string{"hello"}, "@bob", text("hello"), false},
		{"a flag and stdin", "lobby", nil, "lobby", nil, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			room, got, err := addressed(test.flag, test.args)
			if (err != nil) != test.refused {
				t.Fatalf("got %v, want refused %v", err, test.refused)
			}
			if err == nil && (room != test.room || (got == nil) != (test.text == nil) || got != nil && *got != *test.text) {
				t.Errorf("got %q, %v", room, got)
			}
		})
	}
}

// idle is a source that has nothing to say until it is stopped.
type idle struct {
	once sync.Once
	over chan struct{}
}

func (i *idle) next() (string, error) { <-i.over; return "", errors.New("stopped") }
func (*idle) name() string            { return "nothing" }
func (i *idle) stop()                 { i.once.Do(func() { close(i.over) }) }

// joinAsAlice returns a context that ends in time, a server and alice's place in a
// room there.
func joinAsAlice(t *testing.T) (context.Context, *clienttest.Server, *client.Room) {
	t.Helper()
	realm := authtest.NewRealm(t)
	server := clienttest.New(t, realm)
	alice := realm.User("alice")
	conn, err := client.Dial(client.Config{
		Server: server.Address(), ServerName: authtest.ServerName, Certificates: alice.Certificates,
		Token: client.TokenFunc(func(context.Context) (string, error) { return alice.Token, nil }),
	})
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	room, err := conn.Join(ctx, "ops")
	must(t, err)
	return ctx, server, room
}

// A once is a text that is said, after which there is no other.
type once struct {
	oneText
	over chan struct{} // closed by stop
}

func (o *once) stop() { close(o.over) }

// A room that ends for good when all is stored costs nobody the success.
func TestDeliverAllStored(t *testing.T) {
	for name, test := range map[string]struct {
		shown error
	}{
		"not shown": {errors.New("the pipe is broken")},
		"shown":     {},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, server, room := joinAsAlice(t)
			source := &once{oneText{text: "hello"}, make(chan struct{})}
			show := func(string, client.Receipt) error {
				server.End(auth.Refuse(auth.Expelled, nil).GRPCStatus().Err())
				<-source.over
				source.over = make(chan struct{}) // for who cannot show it
				return test.shown
			}
			err := deliver(ctx, room, source, show, func(client.RoomEvent) {}, time.Minute)
			if (err == nil) != (test.shown == nil) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// Who has said all does not wait for ever for a server that is away.
func TestTalkNotAcknowledged(t *testing.T) {
	ctx, server, room := joinAsAlice(t)
	server.Hold(true)
	talker := &talker{room: room, source: &oneText{text: "hello"}, last: 10 * time.Millisecond}
	err := talker.talk(ctx, nil, func(client.RoomEvent) {})
	if cli.CodeOf(err) != cli.Unacknowledged || !strings.Contains(err.Error(), "not acknowledged within 10ms") {
		t.Errorf("got %v", err)
	}
}

// A room that ends while nothing is sent is not waited in.
func TestDeliverExpelled(t *testing.T) {
	ctx, server, room := joinAsAlice(t)
	done := make(chan error, 2)
	go func() {
		done <- deliver(ctx, room, &idle{over: make(chan struct{})}, nil, func(client.RoomEvent) {}, time.Second)
	}()
	server.End(auth.Refuse(auth.Expelled, nil).GRPCStatus().Err())
	err := <-done
	if reason, _ := auth.ReasonOf(err); reason != auth.Expelled || cli.CodeOf(err) != cli.Denied {
		t.Errorf("got %v", err)
	}
	talker := &talker{room: room, source: &idle{over: make(chan struct{})}}
	if reason, _ := auth.ReasonOf(talker.talk(ctx, nil, func(client.RoomEvent) {})); reason != auth.Expelled {
		t.Errorf("a conversation: got %v", reason)
	}
}

// A person hears that the room is away once, and that it is back, with nothing in
// it that steers the terminal.
func TestRoomNotices(t *testing.T) {
	away := client.Reconnecting{Err: errors.New("lost\x1b[2J"), Wait: time.Second}
	for name, test := range map[string]struct {
		presence bool
		events   []client.RoomEvent
		want     string
	}{
		"attempts":         {false, []client.RoomEvent{away, away, away}, "chat: the room is not open just now, and will be opened again: lost\ufffd[2J\n"},
		"back":             {false, []client.RoomEvent{away, client.Reconnected{}}, "chat: the room is not open just now, and will be opened again: lost\ufffd[2J\nchat: the room is open again\n"},
		"never away":       {false, []client.RoomEvent{client.Reconnected{}, client.Live{}}, ""},
		"others, unwanted": {false, []client.RoomEvent{client.Joined{User: "bob"}, client.Left{User: "bob"}}, ""},
		"others":           {true, []client.RoomEvent{client.Joined{User: "b\x1bob"}, client.Left{User: "bob"}}, "chat: b\ufffdob is here\nchat: bob has left\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			notice := roomNotices(&out, test.presence)
			for _, e := range test.events {
				notice(e)
			}
			if out.String() != test.want {
				t.Errorf("got %q, want %q", &out, test.want)
			}
		})
	}
}
