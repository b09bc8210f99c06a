package server_test

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"securechat/auth"
	"securechat/auth/authtest"
	chatpb "securechat/proto/chat"
	"securechat/server"
	"securechat/server/room/roomtest"
)

// infoOf is the ErrorInfo's metadata, and how long the caller is to wait.
func infoOf(err error) (values map[string]string, wait time.Duration) {
	for _, detail := range status.Convert(err).Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			values = detail.GetMetadata()
		case *errdetails.RetryInfo:
			wait = detail.GetRetryDelay().AsDuration()
		}
	}
	return values, wait
}

// resume opens a stream in a room from a cursor on.
func (c *chatroom) resume(user *authtest.User, name string, after uint64) *seat {
	c.t.Helper()
	return &seat{t: c.t, user: user.Name, stream: c.stream(user, "chat-room", name, "chat-after", strconv.FormatUint(after, 10))}
}

// Replay and live meet without a seam, whatever is said meanwhile.
func TestResumingWhileOthersWrite(t *testing.T) { onEachLog(t, resumingWhileOthersWrite) }

func resumingWhileOthersWrite(t *testing.T, c *chatroom) {
	const total, readers = 400, 8
	alice := c.join(c.member("alice"), "lobby")
	var working sync.WaitGroup
	sequences := make([]uint64, 0, total)
	begun := make(chan struct{})
	working.Go(func() {
		for i := range total {
			if err := alice.stream.Send(&chatpb.ChatMessage{Message: strconv.Itoa(i)}); err != nil {
				t.Error(err)
				return
			}
		}
	})
	working.Go(func() {
		for len(sequences) < total {
			m, err := alice.stream.Recv()
			if err != nil {
				t.Error(err)
				return
			}
			if m.Kind == chatpb.Kind_ACKNOWLEDGEMENT {
				if sequences = append(sequences, m.Sequence); len(sequences) == total/10 {
					close(begun)
				}
			}
		}
	})
	<-begun
	seen := make([][]*chatpb.ChatMessage, readers)
	for i := range readers {
		reader := c.resume(c.member(fmt.Sprint("reader", i)), "lobby", 0)
		working.Go(func() {
			live := 0
			for len(seen[i]) < total {
				m, err := reader.stream.Recv()
				if err != nil {
					t.Errorf("%s: %v", reader.user, err)
					return
				}
				switch m.Kind {
				case chatpb.Kind_MESSAGE:
					seen[i] = append(seen[i], m)
				case chatpb.Kind_LIVE:
					live++
				}
			}
			if live > 1 {
				t.Errorf("%s is told %d times that it is live", reader.user, live)
			}
		})
	}
	working.Wait()
	for i := range seen {
		for n, m := range seen[i] {
			if m.Message != strconv.Itoa(n) || m.Sequence != sequences[n] || m.User != "alice" {
				t.Fatalf("message %d of reader %d is %v", n, i, m)
			}
		}
	}
	// From a cursor in the middle, the rest and nothing else.
	half := c.resume(c.member("half"), "lobby", sequences[total/2-1])
	for n := total / 2; n < total; n++ {
		if m := half.heard(); m.Sequence != sequences[n] {
			t.Fatalf("after the cursor comes %v, want %d", m, sequences[n])
		}
	}
	if m := half.next(); m.Kind != chatpb.Kind_LIVE || m.Sequence != sequences[total-1] {
		t.Errorf("the end of the replay is %v, want LIVE at %d", m, sequences[total-1])
	}
}

// The position that LIVE names in a room that nobody has used leads back to it.
func TestTheCursorOfAnEmptyRoom(t *testing.T) {
	c := openRooms(t)
	alice := c.member("alice")
	s := &seat{t: t, user: "alice", stream: c.stream(alice, "chat-room", "new")}
	cursor := s.until(chatpb.Kind_LIVE).Sequence
	bob := c.join(c.member("bob"), "new")
	bob.say("first")
	bob.heard()
	back := c.resume(alice, "new", cursor)
	if m := back.heard(); m.Message != "first" {
		t.Errorf("got %v", m)
	}
}

func TestACursorBeforeWhatIsKept(t *testing.T) {
	log := roomtest.NewMemory()
	c := openRooms(t, onLog(log))
	alice := c.member("alice")
	s := c.join(alice, "lobby")
	var sequences []uint64
	for i := range 5 {
		s.say(strconv.Itoa(i))
		sequences = append(sequences, s.heard().Sequence)
	}
	c.stop(time.Second) // what a server has at hand it does not need the log for
	log.DiscardBefore(sequences[3])
	c = openRooms(t, onLog(log))
	alice = c.member("alice")
	err := c.opened(alice, "chat-room", "lobby", "chat-after", strconv.FormatUint(sequences[0], 10))
	wantReason(t, err, codes.OutOfRange, auth.CursorGone)
	values, _ := infoOf(err)
	oldest, err := strconv.ParseUint(values["oldest"], 10, 64)
	if err != nil {
		t.Fatalf("oldest is %q", values["oldest"])
	}
	back := c.resume(alice, "lobby", oldest)
	for _, want := range sequences[3:] {
		if m := back.heard(); m.Sequence != want {
			t.Errorf("from oldest comes %v, want %d", m, want)
		}
	}
}

// A member that does not read is cut, while its goroutine is stuck in the
// transport; it can come back and has lost nothing. The others notice nothing.
func TestASlowMemberAmongOthers(t *testing.T) {
	const total = 400
	log := &journal{}
	c := openRooms(t, unhurried, func(config *server.Config) {
		config.Log, config.Rooms.Lag = log.logger(), time.Second
	})
	slow := c.join(c.member("slow"), "lobby")
	alice, bob := c.join(c.member("alice"), "lobby"), c.join(c.member("bob"), "lobby")
	text := strings.Repeat("x", 8<<10) // much more in all than a room keeps and windows let through
	var working sync.WaitGroup
	sequences := make([]uint64, total)
	working.Go(func() {
		for range total {
			if err := alice.stream.Send(&chatpb.ChatMessage{Message: text}); err != nil {
				t.Error(err)
				return
			}
		}
	})
	working.Go(func() {
		for i := range sequences {
			sequences[i] = alice.heard().Sequence
		}
	})
	working.Go(func() {
		for range total {
			bob.heard()
		}
	})
	working.Wait()
	waitFor(t, "line that the slow stream ended", func() bool {
		lines := log.lines(t, "ended")
		return len(lines) == 1 && lines[0]["reason"] == "SLOW_CONSUMER" && lines[0]["user"] == "slow"
	})
	had := uint64(0)
	var err error
	read := 0
	for {
		m, recvErr := slow.stream.Recv()
		if err = recvErr; err != nil {
			break
		}
		if m.Kind == chatpb.Kind_MESSAGE {
			if m.Sequence != sequences[read] {
				t.Fatalf("message %d is %d, want %d", read, m.Sequence, sequences[read])
			}
			had = m.Sequence
			read++
		}
	}
	wantReason(t, err, codes.ResourceExhausted, auth.SlowConsumer)
	values, _ := infoOf(err)
	after, parseErr := strconv.ParseUint(values["after"], 10, 64)
	if parseErr != nil || after < had || after > had+uint64(total) {
		t.Errorf("after is %q, and the last that it got is %d", values["after"], had)
	}
	back := c.resume(c.member("slow"), "lobby", had)
	for ; read < total; read++ {
		if m := back.heard(); m.Sequence != sequences[read] {
			t.Fatalf("message %d is %d after coming back, want %d", read, m.Sequence, sequences[read])
		}
	}
}

// What cannot be stored ends the stream that said it and no other, and can be said
// again once the log is back.
func TestALogThatIsNotAvailable(t *testing.T) {
	log := roomtest.NewMemory()
	c := openRooms(t, onLog(log))
	user := c.member("alice")
	alice, bob := c.join(user, "lobby"), c.join(c.member("bob"), "lobby")
	alice.send(&chatpb.ChatMessage{Message: "before", Id: "1"})
	alice.heard()
	log.Fail(errors.New("no space left on device"))
	alice.send(&chatpb.ChatMessage{Message: "lost?", Id: "2"})
	err := alice.end()
	wantReason(t, err, codes.Unavailable, auth.LogUnavailable)
	if _, wait := infoOf(err); wait <= 0 {
		t.Error("the client is not told when to come back")
	}
	if err := c.server.Available(t.Context()); err == nil {
		t.Error("the server says that it is available")
	}
	log.Fail(nil)
	again := c.join(user, "lobby")
	again.send(&chatpb.ChatMessage{Message: "lost?", Id: "2"})
	if m := again.heard(); m.Id != "2" {
		t.Errorf("the retry is answered by %v", m)
	}
	for _, want := range []string{"before", "lost?"} {
		if m := bob.heard(); m.Message != want {
			t.Errorf("bob gets %v, want %q", m, want)
		}
	}
	if err := c.server.Available(t.Context()); err != nil {
		t.Errorf("the server is not available: %v", err)
	}
	log.FailReads(errors.New("no quorum"))
	if err := c.server.Available(t.Context()); err == nil {
		t.Error("the server says that it is available, and cannot read")
	}
	wantReason(t, c.opened(user, "chat-room", "another"), codes.Unavailable, auth.LogUnavailable)
	log.FailReads(nil)
}

// The echo asks for no scope and has no sequence, rooms or not.
func TestTheEchoIsAsItWasBesideRooms(t *testing.T) {
	c := openRooms(t)
	stream := c.stream(c.realm.User("alice", rights("")))
	if err := stream.Send(&chatpb.ChatMessage{Message: "hi"}); err != nil {
		t.Fatal(err)
	}
	m, err := stream.Recv()
	if err != nil || m.Message != "Acknowledged: hi" || m.Sequence != 0 {
		t.Errorf("got %v, %v", m, err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
}

// Large messages that are stored together are more at once than a room keeps, and
// still nobody who reads is too slow.
func TestLargeMessagesTogether(t *testing.T) {
	const total = 24
	log := roomtest.NewMemory()
	c := openRooms(t, onLog(log))
	speakers := []*seat{c.join(c.member("alice"), "lobby"), c.join(c.member("bob"), "lobby"), c.join(c.member("carol"), "lobby")}
	listener := c.join(c.member("dave"), "lobby")
	text := strings.Repeat("x", 100<<10)
	release := log.HoldAppends() // so that the rest gathers
	var working sync.WaitGroup
	for _, s := range speakers {
		working.Go(func() {
			for range total / len(speakers) {
				if err := s.stream.Send(&chatpb.ChatMessage{Message: text}); err != nil {
					t.Error(err)
				}
			}
		})
		working.Go(func() {
			for range total {
				if _, err := s.stream.Recv(); err != nil {
					t.Errorf("%s: %v", s.user, err)
					return
				}
			}
		})
	}
	release()
	for range total {
		listener.heard()
	}
	working.Wait()
}
