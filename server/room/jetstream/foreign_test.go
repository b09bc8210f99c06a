package jetstream_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"

	chatpb "securechat/proto/chat"
	"securechat/server/room"
	"securechat/server/room/jetstream"
	"securechat/server/room/roomtest"
)

// What somebody else has put into a room by mistake makes that room unavailable, at once,
// so that nobody waits for it: not for a reader's patience, nor behind one in the writer.
func TestARoomWithAMessageOfSomebodyElse(t *testing.T) {
	t.Parallel()
	n := startNATS(t, 1)
	config := n.config(roomtest.Limits{})
	log := connect(t, config)
	t.Cleanup(func() { _ = log.Close() })
	appendOne(t, log, said("ops", 0, "one"))
	hub := hubOn(t, log)
	alice, bob := member(t, hub, "ops", room.Position{}), member(t, hub, "other", room.Position{})
	nc, err := natsgo.Connect(n.urls()[0], natsgo.Timeout(readyWithin))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := nc.Request(config.Name+".log.ops", []byte("hello"), readyWithin); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	say(t, alice, "two")
	say(t, bob, "two")
	if _, err := nextOf(t, alice, chatpb.Kind_ACKNOWLEDGEMENT); !errors.Is(err, room.ErrUnavailable) {
		t.Errorf("the room's message is told %v", err)
	}
	if _, err := nextOf(t, bob, chatpb.Kind_ACKNOWLEDGEMENT); err != nil {
		t.Errorf("another room's message is told %v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}

// A stream that is deleted and made anew while a node goes on: who was told a position
// there is not left without what is said next.
func TestAStreamThatIsMadeAnew(t *testing.T) {
	t.Parallel()
	n := startNATS(t, 1)
	config := n.config(roomtest.Limits{})
	running := connect(t, config)
	t.Cleanup(func() { _ = running.Close() })
	last := appendOne(t, running, said("other", 0, "one"))
	for range 5 {
		last = appendOne(t, running, said("other", last, "more"))
	}
	hub := hubOn(t, running)
	bob := member(t, hub, "silent", room.Position{Replay: true, After: last})
	if e, err := nextOf(t, bob, chatpb.Kind_LIVE); err != nil || e.Sequence != last {
		t.Fatalf("told to come back to %d, %v", e.Sequence, err)
	}
	if err := n.api().DeleteStream(t.Context(), strings.ToUpper(config.Name)); err != nil {
		t.Fatal(err)
	}
	anew := connect(t, config)
	t.Cleanup(func() { _ = anew.Close() })
	alice := member(t, hubOn(t, anew), "silent", room.Position{})
	say(t, alice, "after")
	if e, err := nextOf(t, alice, chatpb.Kind_ACKNOWLEDGEMENT); err != nil || e.Entry.Sequence >= last {
		t.Fatalf("stored as %d, %v", e.Entry.Sequence, err)
	}
	if e, err := nextOf(t, bob, chatpb.Kind_MESSAGE); !errors.Is(err, room.ErrUnavailable) {
		t.Errorf("who was there is told %q, %v", e.Entry.Text, err)
	}
	var gone *room.GoneError
	if m, err := hub.Join(t.Context(), "silent", "bob", room.Position{Replay: true, After: last}); !errors.As(err, &gone) {
		t.Errorf("and comes back with %v", err)
		if err == nil {
			m.Leave()
		}
	}
}

func hubOn(t *testing.T, log *jetstream.Shared) *room.Hub {
	t.Helper()
	hub := room.New(room.Config{Log: log, Cluster: log})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), readyWithin)
		defer cancel()
		if err := hub.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return hub
}

func member(t *testing.T, hub *room.Hub, key room.Key, from room.Position) *room.Member {
	t.Helper()
	m, err := hub.Join(t.Context(), key, "bob", from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Leave)
	return m
}

func say(t *testing.T, m *room.Member, text string) {
	t.Helper()
	if err := m.Post(t.Context(), room.Posting{Text: text}); err != nil {
		t.Fatal(err)
	}
}

// nextOf returns the member's next event of a kind.
func nextOf(t *testing.T, m *room.Member, kind chatpb.Kind) (room.Event, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*readyWithin)
	defer cancel()
	events := make([]room.Event, 1)
	for {
		_, err := m.Next(ctx, events)
		if err != nil || events[0].Kind == kind {
			return events[0], err
		}
	}
}
