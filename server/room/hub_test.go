package room_test

import (
	"context"
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	chatpb "securechat/proto/chat"
	"securechat/server/room"
	"securechat/server/room/roomtest"
)

func TestARoomHasOneOrder(t *testing.T) {
	hub, _ := memoryHub(t)
	alice := joinLive(t, hub, "ops", "alice")
	bob := joinLive(t, hub, "ops", "bob")
	alice.want("JOINED bob")
	elsewhere := joinLive(t, hub, "other", "carol")

	alice.post("1", "a1")
	alice.want("ack a1")
	bob.post("1", "b1")
	bob.want("alice: a1", "ack b1")
	alice.post("", "a2")
	alice.want("bob: b1")
	a2 := alice.wantAck()
	e, err := bob.next()
	if err != nil || show(e) != "alice: a2" || e.Entry != a2 || a2.Previous == 0 || a2.Previous >= a2.Sequence {
		t.Errorf("bob gets %+v, %v, and alice %+v", e.Entry, err, a2)
	}
	elsewhere.post("1", "c1")
	elsewhere.want("ack c1")
}

func TestASecondSessionIsSentWhatTheFirstSays(t *testing.T) {
	hub, _ := memoryHub(t)
	one := joinLive(t, hub, "ops", "alice")
	two := joinLive(t, hub, "ops", "alice")
	one.post("1", "hello")
	one.want("ack hello")
	two.want("alice: hello")
}

func TestTheWireFormIsWhatTheContractSays(t *testing.T) {
	hub, _ := memoryHub(t)
	alice := joinLive(t, hub, "ops", "alice")
	bob := joinLive(t, hub, "ops", "bob")
	alice.want("JOINED bob")
	alice.post("id", "hello")
	ack, err := alice.next()
	if err != nil {
		t.Fatal(err)
	}
	e, err := bob.next()
	if err != nil {
		t.Fatal(err)
	}
	var got chatpb.ChatMessage
	if err := proto.Unmarshal(e.Wire, &got); err != nil {
		t.Fatal(err)
	}
	want := &chatpb.ChatMessage{
		User: "alice", Message: "hello", Id: "id", Sequence: ack.Entry.Sequence,
		Timestamp: chatpb.FormatTimestamp(ack.Entry.Time),
	}
	if !proto.Equal(&got, want) {
		t.Errorf("bob is sent %v, want %v", &got, want)
	}
}

func TestWhatWasMissedIsReplayed(t *testing.T) {
	log := roomtest.NewMemory()
	hub := room.New(room.Config{Log: log})
	alice := joinLive(t, hub, "ops", "alice")
	for _, text := range []string{"1", "2", "3"} {
		alice.post(text, text)
	}
	alice.want("ack 1")
	second, _ := alice.next()
	alice.want("ack 3")
	closeHub(t, hub)
	alice.wantEnd(room.ErrClosed)

	hub = newHub(t, room.Config{Log: log})
	join(t, hub, "ops", "bob", beginning).want("alice: 1", "alice: 2", "alice: 3", "LIVE")
	carol := join(t, hub, "ops", "carol", after(second.Entry.Sequence))
	carol.want("alice: 3", "LIVE")
	carol.post("4", "4")
	carol.want("ack 4")
}

func TestAnUnusedRoomIsLiveAtOnce(t *testing.T) {
	for name, from := range map[string]room.Position{"live": live, "from the beginning": beginning} {
		t.Run(name, func(t *testing.T) {
			hub, log := memoryHub(t)
			other := joinLive(t, hub, "other", "carol")
			other.post("1", "1")
			other.want("ack 1")
			_, last, err := log.Span(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			alice := join(t, hub, "ops", "alice", from)
			e, err := alice.next()
			if err != nil || e.Kind != chatpb.Kind_LIVE || e.Sequence != last {
				t.Fatalf("got %v %d %v, want LIVE at %d", e.Kind, e.Sequence, err, last)
			}
			join(t, hub, "ops", "bob", after(e.Sequence)).want("LIVE")
		})
	}
}

func TestWhoHasLeftIsToldNothing(t *testing.T) {
	hub, _ := memoryHub(t)
	alice := joinLive(t, hub, "ops", "alice")
	alice.Leave()
	alice.Leave()
	alice.wantEnd(room.ErrClosed)
	if err := alice.Post(t.Context(), room.Posting{Text: "x"}); !errors.Is(err, room.ErrClosed) {
		t.Errorf("Post after Leave: %v", err)
	}
}

func TestAClosedHubTakesNobodyIn(t *testing.T) {
	hub, _ := memoryHub(t)
	alice := joinLive(t, hub, "ops", "alice")
	closeHub(t, hub)
	alice.wantEnd(room.ErrClosed)
	if err := alice.Post(t.Context(), room.Posting{Text: "x"}); !errors.Is(err, room.ErrClosed) {
		t.Errorf("Post: %v", err)
	}
	if _, err := hub.Join(t.Context(), "ops", "bob", live); !errors.Is(err, room.ErrClosed) {
		t.Errorf("Join: %v", err)
	}
}

func TestWaitsEndWithTheirContexts(t *testing.T) {
	hub, _ := memoryHub(t)
	alice := joinLive(t, hub, "ops", "alice")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := alice.Next(ctx, make([]room.Event, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("Next: %v", err)
	}
	if _, err := hub.Join(ctx, "unloaded", "alice", live); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("Join: %v", err)
	}
}

func TestOnlyTextIsTaken(t *testing.T) {
	hub, _ := memoryHub(t)
	if _, err := hub.Join(t.Context(), "ops", "\xff", live); !errors.Is(err, room.ErrText) {
		t.Errorf("Join: %v", err)
	}
	alice := joinLive(t, hub, "ops", "alice")
	for _, p := range []room.Posting{{Text: "\xff"}, {ID: "\xff"}} {
		if err := alice.Post(t.Context(), p); !errors.Is(err, room.ErrText) {
			t.Errorf("Post(%q, %q): %v", p.ID, p.Text, err)
		}
	}
}

// What is posted when its poster has been ended is not said, though there is a place
// for it.
func TestNothingIsPostedAfterTheContextHasEnded(t *testing.T) {
	hub, log := memoryHub(t)
	alice := joinLive(t, hub, "ops", "alice")
	ended, end := context.WithCancel(t.Context())
	end()
	for range 100 {
		if err := alice.Post(ended, room.Posting{Text: "too late"}); !errors.Is(err, context.Canceled) {
			t.Fatalf("posted with a context that has ended: %v", err)
		}
	}
	alice.post("", "in time")
	alice.want("ack in time")
	wantStored(t, log, "ops", "alice: in time")
}
