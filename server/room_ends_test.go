package server_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"securechat/auth"
	chatpb "securechat/proto/chat"
	"securechat/server"
	"securechat/server/room/roomtest"
)

// What was accepted when the server begins to drain is acknowledged, and stored.
func TestDrainingRooms(t *testing.T) {
	log := roomtest.NewMemory()
	reader := sdkmetric.NewManualReader()
	c := openRooms(t, onLog(log), func(config *server.Config) {
		config.Metrics = sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	})
	seats := make([]*seat, 4)
	for i := range seats {
		seats[i] = c.join(c.member(fmt.Sprint("user", i)), "lobby")
	}
	release := log.HoldAppends()
	for _, s := range seats {
		s.send(&chatpb.ChatMessage{Message: "last words", Id: s.user})
	}
	// They have been accepted once they are counted.
	waitFor(t, "accepted messages", func() bool {
		return collect(t, reader)["securechat.messages{direction=received}"] == float64(len(seats))
	})
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		c.stop(30 * time.Second)
	}()
	waitFor(t, "refusal of new streams", func() bool {
		return status.Code(c.opened(c.member("late"), "chat-room", "lobby")) == codes.Unavailable
	})
	release()
	for _, s := range seats {
		for {
			m, err := s.stream.Recv()
			if err != nil {
				t.Fatalf("%s: %v before the acknowledgement", s.user, err)
			}
			if m.Kind == chatpb.Kind_ACKNOWLEDGEMENT {
				break
			}
		}
		err := s.end()
		wantReason(t, err, codes.Unavailable, auth.Draining)
		if _, wait := infoOf(err); wait <= 0 {
			t.Errorf("%s is not told when to come back", s.user)
		}
	}
	<-drained
	entries, _, err := log.Read(t.Context(), "lobby", 0, 100)
	if err != nil || len(entries) != len(seats) {
		t.Errorf("%d entries are stored, %v, want %d", len(entries), err, len(seats))
	}
}

// patient has no member cut for being slow while a test runs, nor for not taking the end
// of its stream.
func patient(config *server.Config) {
	config.Rooms.Lag = time.Hour
	unhurried(config)
}

// unhurried has clients take the end of their streams when the test has time for it.
func unhurried(config *server.Config) { config.Limits.Stall = time.Hour }

// stuck is a member that does not read, and to whom so much has been said that the
// server is stuck in sending it.
func (c *chatroom) stuck(name string) *seat {
	c.t.Helper()
	s := c.join(c.member(name), "lobby")
	alice := c.join(c.member("alice"), "lobby")
	text := strings.Repeat("x", 64<<10)
	for range 32 {
		alice.say(text)
		alice.heard()
	}
	return s
}

// A member that only listens ends with a drain too, as does one that is stuck.
func TestDrainingThoseWhoOweNothing(t *testing.T) {
	c := openRooms(t, patient)
	stuck, listener := c.stuck("bob"), c.join(c.member("carol"), "lobby")
	c.stop(3 * time.Second)
	wantReason(t, listener.end(), codes.Unavailable, auth.Draining)
	// What it has not read of the end by then it does not get.
	if err := stuck.end(); status.Code(err) != codes.Unavailable {
		t.Errorf("the stuck stream ended with %v", err)
	}
}

// A member that is refused ends at once, though what is being sent to it cannot be.
func TestAStuckMemberIsRefused(t *testing.T) {
	log := &journal{}
	c := openRooms(t, patient, func(config *server.Config) { config.Log = log.logger() })
	stuck := c.stuck("bob")
	stuck.send(&chatpb.ChatMessage{Kind: chatpb.Kind_LIVE})
	waitFor(t, "line that the stuck stream ended", func() bool {
		lines := log.lines(t, "ended")
		return len(lines) == 1 && lines[0]["reason"] == "MESSAGE_INVALID"
	})
	// Its handler has left, too.
	carol := c.client(c.member("carol"))
	waitFor(t, "presence of alice alone", func() bool {
		present, err := carol.Members(t.Context(), &chatpb.MembersRequest{Room: "lobby"})
		return err == nil && len(present.Members) == 1
	})
	wantReason(t, stuck.end(), codes.InvalidArgument, auth.MessageInvalid)
}

// A half-close is not put off by what others have said, however much of it the
// client has yet to read.
func TestAHalfCloseInABusyRoom(t *testing.T) {
	const total = 400
	c := openRooms(t, patient, func(config *server.Config) { config.Rooms.QueueBytes = 64 << 20 })
	bob, alice := c.join(c.member("bob"), "lobby"), c.join(c.member("alice"), "lobby")
	text := strings.Repeat("x", 8<<10)
	for range total { // much more than windows let through
		alice.say(text)
		alice.heard()
	}
	if err := bob.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	got := 0
	for {
		m, err := bob.stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if m.Kind == chatpb.Kind_MESSAGE {
			got++
		}
	}
	if got == total {
		t.Error("the stream ended only when all had been read")
	}
}
