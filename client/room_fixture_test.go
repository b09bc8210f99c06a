package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"securechat/auth"
	"securechat/auth/authtest"
	"securechat/client/clienttest"
)

// hurry is a JoinOption for tests: reopening waits next to nothing, and so do
// acknowledgements for a program that does not read.
type hurry struct{}

func (hurry) join(r *Room) { r.first, r.grace = 2*time.Millisecond, 5*time.Millisecond }

// errLost is how a fault ends a stream.
var errLost = status.Error(codes.Unavailable, "a fault of the test's")

func startRooms(t testing.TB) (*authtest.Realm, *clienttest.Server) {
	realm := authtest.NewRealm(t)
	return realm, clienttest.New(t, realm)
}

func join(t testing.TB, conn *Conn, name string, options ...JoinOption) *Room {
	t.Helper()
	room, err := conn.Join(patient(t), name, append(options, hurry{})...)
	must(t, err)
	t.Cleanup(func() { _ = room.Close() })
	return room
}

// wantMessages reads messages with these texts.
func wantMessages(t testing.TB, room *Room, texts ...string) (got []Message) {
	t.Helper()
	for _, text := range texts {
		m, err := room.Receive(patient(t))
		must(t, err)
		if m.Text != text || m.Kind != KindMessage {
			t.Fatalf("got %+v, want %q", m, text)
		}
		got = append(got, m)
	}
	return got
}

// wantNext reads events up to the first of a type.
func wantNext[E RoomEvent](t testing.TB, room *Room) E {
	t.Helper()
	for {
		event, err := room.Next(patient(t))
		must(t, err)
		if e, ok := event.(E); ok {
			return e
		}
	}
}

func wantReason(t testing.TB, err error, reason auth.Reason) *Error {
	t.Helper()
	var refusal *Error
	if !errors.As(err, &refusal) || refusal.Reason != reason {
		t.Fatalf("got %v, want %s", err, reason)
	}
	return refusal
}

func refusal(reason auth.Reason) error { return auth.Refuse(reason, nil).GRPCStatus().Err() }

// wantLog compares what was received with what the room has.
func wantLog(t testing.TB, got []Message, entries []clienttest.Entry) {
	t.Helper()
	shown := func(user, text string, sequence uint64) string { return fmt.Sprintf("%d %s: %s", sequence, user, text) }
	var have, want []string
	for _, m := range got {
		have = append(have, shown(m.User, m.Text, m.Sequence))
	}
	for _, e := range entries {
		want = append(want, shown(e.User, e.Text, e.Sequence))
	}
	if slices.Equal(have, want) {
		return
	}
	for i := range max(len(have), len(want)) {
		if i >= len(have) || i >= len(want) || have[i] != want[i] {
			t.Fatalf("received %d, stored %d; they differ at place %d:\n%q\n%q", len(have), len(want), i, have[i:min(i+5, len(have))], want[i:min(i+5, len(want))])
		}
	}
}

// eventually waits for what the server's side comes to by itself.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx := patient(t)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal(what)
		}
	}
}

func blockedSend(room *Room, ctx context.Context, text string, options ...SendOption) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := room.Send(ctx, text, options...)
		done <- err
	}()
	return done
}
