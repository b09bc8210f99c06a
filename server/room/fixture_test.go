package room_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	chatpb "securechat/proto/chat"
	"securechat/server/room"
	"securechat/server/room/roomtest"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// newHub returns a hub that is closed when the test ends.
func newHub(t testing.TB, config room.Config) *room.Hub {
	t.Helper()
	hub := room.New(config)
	t.Cleanup(func() { closeHub(t, hub) })
	return hub
}

func memoryHub(t testing.TB) (*room.Hub, *roomtest.Memory) {
	t.Helper()
	log := roomtest.NewMemory()
	return newHub(t, room.Config{Log: log}), log
}

func closeHub(t testing.TB, hub *room.Hub) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := hub.Close(ctx); err != nil {
		t.Errorf("Close: %v", err)
	}
}

var (
	live      = room.Position{}
	beginning = room.Position{Replay: true}
)

func after(sequence uint64) room.Position { return room.Position{Replay: true, After: sequence} }

// session is a member whose events a test reads one by one.
type session struct {
	t testing.TB
	*room.Member
	buffered []room.Event
}

// join makes a session that leaves when the test ends.
func join(t testing.TB, hub *room.Hub, key room.Key, user string, from room.Position) *session {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	m, err := hub.Join(ctx, key, user, from)
	if err != nil {
		t.Fatalf("%s joins %s: %v", user, key, err)
	}
	t.Cleanup(m.Leave)
	return &session{t: t, Member: m}
}

// joinLive is join from now on, and past LIVE.
func joinLive(t testing.TB, hub *room.Hub, key room.Key, user string) *session {
	t.Helper()
	s := join(t, hub, key, user, live)
	s.want("LIVE")
	return s
}

func (s *session) next() (room.Event, error) {
	if len(s.buffered) == 0 {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		events := make([]room.Event, 8)
		n, err := s.Next(ctx, events)
		if err != nil {
			return room.Event{}, err
		}
		s.buffered = events[:n]
	}
	e := s.buffered[0]
	s.buffered = s.buffered[1:]
	return e, nil
}

// want reads as many events and compares what show makes of them. LIVE's sequence
// is not compared.
func (s *session) want(events ...string) {
	s.t.Helper()
	for i, want := range events {
		e, err := s.next()
		if err != nil {
			s.t.Fatalf("event %d: %v, want %s", i, err, want)
		}
		if got := show(e); got != want {
			s.t.Fatalf("event %d is %s, want %s", i, got, want)
		}
	}
}

// wantEnd reads the end.
func (s *session) wantEnd(want error) {
	s.t.Helper()
	e, err := s.next()
	if err == nil {
		s.t.Fatalf("got %s, want the end: %v", show(e), want)
	}
	if !errors.Is(err, want) {
		s.t.Fatalf("ended with %v, want %v", err, want)
	}
}

func show(e room.Event) string {
	switch e.Kind {
	case chatpb.Kind_LIVE:
		return "LIVE"
	case chatpb.Kind_MESSAGE:
		return fmt.Sprintf("%s: %s", e.Entry.User, e.Entry.Text)
	case chatpb.Kind_ACKNOWLEDGEMENT:
		return fmt.Sprintf("ack %s", e.Entry.Text)
	default:
		return fmt.Sprintf("%s %s", e.Kind, e.User)
	}
}

func (s *session) post(id, text string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Post(ctx, room.Posting{ID: id, Text: text}); err != nil {
		s.t.Fatalf("post %q: %v", text, err)
	}
}
