package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"securechat/auth"
	"securechat/auth/authtest"
	"securechat/certs"
	chatpb "securechat/proto/chat"
)

func TestHistoryRefused(t *testing.T) {
	realm, server := startRooms(t)
	conn := dial(t, realm.User("alice"), server.Address())
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	calls := map[string]func(ctx context.Context, room string) error{
		"History": func(ctx context.Context, room string) (last error) {
			for _, err := range conn.History(ctx, room) {
				last = err
			}
			return last
		},
		"Members": func(ctx context.Context, room string) error { _, err := conn.Members(ctx, room); return err },
		"Rooms": func(ctx context.Context, _ string) (last error) {
			for _, err := range conn.Rooms(ctx) {
				last = err
			}
			return last
		},
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			if err := call(patient(t), ""); (err == nil) != (name == "Rooms") {
				t.Errorf("no room: got %v", err)
			}
			if err := call(ended, "ops"); !errors.Is(err, context.Canceled) || status.Code(err) != codes.Canceled {
				t.Errorf("context has ended: got %v", err)
			}
			server.Refuse(refusal(auth.RoomDenied))
			defer server.Refuse(nil)
			wantReason(t, call(patient(t), "ops"), auth.RoomDenied)
		})
	}
}

// Pages make one sequence in either direction, and Limit counts over them.
func TestHistory(t *testing.T) {
	realm, server := startRooms(t)
	conn := dial(t, realm.User("alice"), server.Address())
	const count = 2*messagesPage + 1
	var all []uint64
	for i := range count {
		all = append(all, server.Say("@bob/alice", "bob", "not this room"))
		all[i] = server.Say("@Jürgen/alice", "Jürgen", fmt.Sprint(i))
	}
	reversed := slices.Clone(all)
	slices.Reverse(reversed)
	tests := []struct {
		name    string
		options []HistoryOption
		want    []uint64
	}{
		{"the newest first", nil, reversed},
		{"the newest five", []HistoryOption{Limit(5)}, reversed[:5]},
		{"more than a page", []HistoryOption{Limit(messagesPage + 5)}, reversed[:messagesPage+5]},
		{"no limit", []HistoryOption{Limit(-1)}, reversed},
		{"before", []HistoryOption{Before(all[2])}, []uint64{all[1], all[0]}},
		{"before the first", []HistoryOption{Before(all[0])}, nil},
		{"from the start", []HistoryOption{FromStart()}, all},
		{"after", []HistoryOption{After(all[count-3]), Limit(10)}, all[count-2:]},
		{"the last option counts", []HistoryOption{Before(all[2]), After(all[count-2])}, all[count-1:]},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			messages := conn.History(patient(t), "@Jürgen", test.options...)
			for range 2 { // each from where it begins
				var got []uint64
				for m, err := range messages {
					must(t, err)
					got = append(got, m.Sequence)
					if m.User != "Jürgen" || m.Time.IsZero() || m.Kind != KindMessage {
						t.Errorf("got %+v", m)
					}
				}
				if !slices.Equal(got, test.want) {
					t.Errorf("got %d: %v, want %d", len(got), got[:min(len(got), 5)], len(test.want))
				}
			}
		})
	}
	for range conn.History(patient(t), "@Jürgen") {
		break // asks for no other page
	}
}

func TestRoomsAndMembers(t *testing.T) {
	realm, server := startRooms(t)
	conn := dial(t, realm.User("alice"), server.Address())
	var want []RoomInfo
	for i := range roomsPage + 1 {
		name := fmt.Sprintf("room-%04d", i)
		want = append(want, RoomInfo{Name: name, Sequence: server.Say(name, "bob", "x")})
	}
	want = slices.Insert(want, 0, RoomInfo{Name: "@Jürgen", Sequence: server.Say("@Jürgen/alice", "alice", "x")})
	server.Say("@bob/carol", "bob", "not alice's to see")
	var got []RoomInfo
	for room, err := range conn.Rooms(patient(t)) {
		must(t, err)
		got = append(got, room)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %d rooms, %v, want %d", len(got), got[:min(len(got), 3)], len(want))
	}

	join(t, conn, "@Jürgen")
	members, err := conn.Members(patient(t), "@Jürgen")
	must(t, err)
	if len(members) != 1 || members[0].User != "alice" || members[0].Since.IsZero() {
		t.Errorf("got %+v", members)
	}
}

// A cursor that does not lead to all that came after it is refused, as in joining.
func TestHistoryGone(t *testing.T) {
	realm, server := startRooms(t)
	conn := dial(t, realm.User("alice"), server.Address())
	server.Say("ops", "bob", "one")
	server.Discard("ops", server.Say("ops", "bob", "two"))
	newest := server.Say("ops", "bob", "three")
	for _, after := range []uint64{2, newest + 1} {
		for _, err := range conn.History(patient(t), "ops", After(after)) {
			if gone := wantReason(t, err, auth.CursorGone); gone.Oldest != 3 {
				t.Errorf("after %d: got %v, want the oldest, 3", after, err)
			}
		}
		_, err := conn.Join(patient(t), "ops", After(after))
		wantReason(t, err, auth.CursorGone)
	}
	for _, option := range []HistoryOption{FromStart(), After(3), Before(newest + 1)} {
		count := 0
		for _, err := range conn.History(patient(t), "ops", option) {
			must(t, err)
			count++
		}
		if count != 1 {
			t.Errorf("got %d messages, want the one that is kept", count)
		}
	}
}

// Before 0 is from the end of the room on.
func TestCheckPageBeforeZero(t *testing.T) {
	zero := uint64(0)
	if err := (reading{before: &zero}).checkPage("", []Message{{Sequence: 5}, {Sequence: 4}}, false); err != nil {
		t.Errorf("got %v", err)
	}
}

// oddPages answers with the same page each time.
type oddPages struct {
	chatpb.UnimplementedChatServer
	messages []uint64
	rooms    []string
}

func (o oddPages) History(context.Context, *chatpb.HistoryRequest) (*chatpb.HistoryResponse, error) {
	answer := &chatpb.HistoryResponse{More: true}
	for _, sequence := range o.messages {
		answer.Messages = append(answer.Messages, &chatpb.ChatMessage{User: "bob", Sequence: sequence})
	}
	return answer, nil
}

func (o oddPages) Rooms(context.Context, *chatpb.RoomsRequest) (*chatpb.RoomsResponse, error) {
	answer := &chatpb.RoomsResponse{More: true}
	for _, name := range o.rooms {
		answer.Rooms = append(answer.Rooms, &chatpb.Room{Name: name})
	}
	return answer, nil
}

// A server whose pages do not go on is asked once more at most, and found out: what
// it says is told once, and not taken for all that there is.
func TestPagesThatDoNotGoOn(t *testing.T) {
	for name, test := range map[string]struct {
		odd                        oddPages
		forwards, backwards, rooms int // told before
	}{
		"repeated":     {oddPages{messages: []uint64{4, 5}, rooms: []string{"a", "b"}}, 2, 2, 2},
		"out of order": {oddPages{messages: []uint64{5, 4}, rooms: []string{"b", "a"}}, 0, 0, 1},
		"doubled":      {oddPages{messages: []uint64{4, 4}, rooms: []string{"a", "a"}}, 0, 0, 1},
		"without end":  {oddPages{}, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			realm := authtest.NewRealm(t)
			srv := grpc.NewServer(grpc.Creds(certs.ServerCredentials(realm.Server())))
			chatpb.RegisterChatServer(srv, test.odd)
			conn := dial(t, realm.User("alice"), realm.Serve(srv))
			wantFoundOut(t, "forwards", conn.History(patient(t), "ops", FromStart()), test.forwards)
			wantFoundOut(t, "backwards", conn.History(patient(t), "ops"), test.backwards)
			wantFoundOut(t, "rooms", conn.Rooms(patient(t)), test.rooms)
		})
	}
}

func wantFoundOut[T any](t *testing.T, what string, pages iter.Seq2[T, error], want int) {
	t.Helper()
	told := 0
	for _, err := range pages {
		var odd *Error
		switch {
		case err == nil && told < want:
			told++
		case !errors.As(err, &odd) || odd.Code != codes.Internal || told != want:
			t.Errorf("%s: got %v after %d, want an error after %d", what, err, told, want)
			return
		default:
			return
		}
	}
	t.Errorf("%s: it ends after %d as if that were all", what, told)
}
