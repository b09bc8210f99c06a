package server_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"securechat/auth"
	chatpb "securechat/proto/chat"
	"securechat/server"
	"securechat/server/room"
	"securechat/server/room/roomtest"
)

// heldLog holds up reads of the rooms whose names begin with "held" until letGo is
// called, and counts them.
type heldLog struct {
	*roomtest.Memory
	held    atomic.Int64
	release chan struct{}
	letGo   func()
}

func newHeldLog(t *testing.T) *heldLog {
	l := &heldLog{Memory: roomtest.NewMemory(), release: make(chan struct{})}
	l.letGo = sync.OnceFunc(func() { close(l.release) })
	t.Cleanup(l.letGo)
	return l
}

func (l *heldLog) hold(ctx context.Context, key room.Key) {
	if !strings.HasPrefix(string(key), "held") {
		return
	}
	l.held.Add(1)
	select {
	case <-l.release:
	case <-ctx.Done():
	}
}

func (l *heldLog) Read(ctx context.Context, key room.Key, after uint64, limit int) ([]room.Entry, bool, error) {
	l.hold(ctx, key)
	return l.Memory.Read(ctx, key, after, limit)
}

// fill puts messages of a size into the room called held.
func (l *heldLog) fill(t *testing.T, messages, size int) {
	newest := uint64(0)
	for range messages {
		draft := room.Draft{Entry: room.Entry{Room: "held", User: "alice", Text: strings.Repeat("x", size)}, Expected: newest}
		var err error
		if newest, err = l.Append(t.Context(), []room.Draft{draft}); err != nil {
			t.Fatal(err)
		}
	}
}

func (l *heldLog) Newest(ctx context.Context, key room.Key) (uint64, error) {
	l.hold(ctx, key)
	return l.Memory.Newest(ctx, key)
}

// ask makes calls for a room's history until the test ends.
func (c *chatroom) ask(client chatpb.ChatClient, name string, calls int) {
	ctx, cancel := context.WithCancel(context.Background())
	var asking sync.WaitGroup
	c.t.Cleanup(func() { cancel(); asking.Wait() })
	after := uint64(0)
	for range calls {
		asking.Go(func() { _, _ = client.History(ctx, &chatpb.HistoryRequest{Room: name, After: &after}) })
	}
}

// Who asks for much waits for itself, and nobody else does.
func TestOneCallerDoesNotTakeAllPlaces(t *testing.T) {
	log := newHeldLog(t)
	c := openRooms(t, onLog(log))
	c.ask(c.client(c.member("alice")), "held", 50)
	waitFor(t, "calls that read", func() bool { return log.held.Load() == 8 })
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := c.client(c.member("bob")).History(ctx, &chatpb.HistoryRequest{Room: "lobby"}); err != nil {
		t.Errorf("another is told %v", err)
	}
	if held := log.held.Load(); held != 8 {
		t.Errorf("one caller has %d calls read at a time, want 8", held)
	}
}

func TestCallsPerIdentity(t *testing.T) {
	log := newHeldLog(t)
	c := openRooms(t, onLog(log), func(config *server.Config) { config.Limits.CallsPerIdentity = 2 })
	alice := c.client(c.member("alice"))
	c.ask(alice, "held", 2)
	waitFor(t, "calls that read", func() bool { return log.held.Load() == 2 })
	_, err := alice.History(t.Context(), &chatpb.HistoryRequest{Room: "lobby"})
	wantReason(t, err, codes.ResourceExhausted, auth.TooManyStreams)
	if _, wait := infoOf(err); wait <= 0 {
		t.Error("the caller is not told when to come back")
	}
	// Other methods and others' calls do not count.
	if _, err := alice.Rooms(t.Context(), &chatpb.RoomsRequest{}); err != nil {
		t.Errorf("another method: %v", err)
	}
	if _, err := c.client(c.member("bob")).History(t.Context(), &chatpb.HistoryRequest{Room: "lobby"}); err != nil {
		t.Errorf("another caller: %v", err)
	}
}

// One user has few rooms loaded at a time.
func TestRoomsThatOneCallerHasLoaded(t *testing.T) {
	log := newHeldLog(t)
	c := openRooms(t, onLog(log))
	alice := c.member("alice")
	for i := range 30 {
		c.stream(alice, "chat-room", "held-"+strings.Repeat("x", i))
	}
	waitFor(t, "rooms that are loaded", func() bool { return log.held.Load() == 8 })
	c.join(c.member("bob"), "lobby")
	if held := log.held.Load(); held != 8 {
		t.Errorf("%d rooms are being loaded for one caller, want 8", held)
	}
}

// Asking other servers who is in a room that nobody here uses is bounded, too.
func TestMembersOfUnusedRooms(t *testing.T) {
	node := roomtest.NewCluster(roomtest.NewMemory()).Node()
	c := openRooms(t, func(config *server.Config) { config.Rooms = server.Rooms{Log: node, Cluster: node} })
	alice := c.client(c.member("alice"))
	began := time.Now()
	var asking sync.WaitGroup
	for range 16 {
		asking.Go(func() {
			if _, err := alice.Members(t.Context(), &chatpb.MembersRequest{Room: "unused"}); err != nil {
				t.Error(err)
			}
		})
	}
	asking.Wait()
	// Each takes 300 ms, and eight go at a time.
	if took := time.Since(began); took < 590*time.Millisecond {
		t.Errorf("all of them are asked at once: they take %v", took)
	}
}

// A stream for each message is no way around the rate.
func TestStreamsDoNotEvadeTheRate(t *testing.T) {
	const rate, total = 20, 30
	c := openRooms(t, func(config *server.Config) { config.Rooms.MessagesPerSecond = rate })
	alice := c.client(c.member("alice"))
	began := time.Now()
	for range total {
		stream, err := alice.ChatStream(metadata.AppendToOutgoingContext(t.Context(), "chat-room", "lobby"))
		if err != nil {
			t.Fatal(err)
		}
		s := &seat{t: t, user: "alice", stream: stream}
		s.say("hello")
		s.heard()
		if err := stream.CloseSend(); err != nil {
			t.Fatal(err)
		}
	}
	// A second's worth may come at once.
	if took, least := time.Since(began), time.Second*(total-rate-1)/rate; took < least {
		t.Errorf("%d messages took %v, want %v at least", total, took, least)
	}
}
