package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"securechat/auth"
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
