package server_test

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"

	chatpb "securechat/proto/chat"
)

func TestTwoUsersChat(t *testing.T) { onEachLog(t, twoUsersChat) }

func twoUsersChat(t *testing.T, c *chatroom) {
	alice := c.join(c.member("alice"), "lobby")
	bob := c.join(c.member("bob"), "lobby")
	if m := alice.until(chatpb.Kind_JOINED); m.User != "bob" || m.Sequence != 0 {
		t.Errorf("alice is told %v, want that bob joined", m)
	}
	// Whatever a client claims, the author is who it is.
	alice.send(&chatpb.ChatMessage{User: "mallory", Message: "Hello, Bob", Id: "a-1", Timestamp: "yesterday", Sequence: 7})
	ack, got := alice.heard(), bob.heard()
	if ack.User != "Server" || ack.Message != "Acknowledged: Hello, Bob" || ack.Id != "a-1" || ack.Kind != chatpb.Kind_ACKNOWLEDGEMENT || ack.Sequence < 2 {
		t.Errorf("alice gets %v", ack)
	}
	if got.User != "alice" || got.Message != "Hello, Bob" || got.Id != "a-1" || got.Kind != chatpb.Kind_MESSAGE || got.Sequence != ack.Sequence || got.Timestamp != ack.Timestamp {
		t.Errorf("bob gets %v, and alice was told %v", got, ack)
	}
	bob.say("")
	if ack := bob.heard(); ack.Message != "Acknowledged: " || ack.Sequence <= got.Sequence {
		t.Errorf("bob's empty text is acknowledged by %v", ack)
	}
	if m := alice.heard(); m.User != "bob" || m.Message != "" {
		t.Errorf("alice gets %v, want bob's empty text", m)
	}
	bob.send(&chatpb.ChatMessage{Kind: chatpb.Kind_TYPING})
	if m := alice.until(chatpb.Kind_TYPING); m.User != "bob" || m.Message != "" || m.Sequence != 0 {
		t.Errorf("alice is told %v, want that bob types", m)
	}
	if err := bob.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := bob.end(); err != io.EOF {
		t.Errorf("bob's stream ends with %v, want OK", err)
	}
	if m := alice.until(chatpb.Kind_LEFT); m.User != "bob" {
		t.Errorf("alice is told %v, want that bob left", m)
	}
}

// All see one order, in which each sender's acknowledgements have the places of
// the messages. What was sent before a half-close is acknowledged before the end.
func TestOneOrderForAll(t *testing.T) { onEachLog(t, oneOrderForAll) }

func oneOrderForAll(t *testing.T, c *chatroom) {
	const users, each = 4, 60
	seats := make([]*seat, users)
	for i := range seats {
		seats[i] = c.join(c.member(fmt.Sprintf("user%d", i)), "lobby")
	}
	type line struct {
		sequence   uint64
		user, text string
	}
	seen := make([][]line, users)
	var listening sync.WaitGroup
	for i, s := range seats {
		listening.Go(func() {
			for len(seen[i]) < users*each {
				m, err := s.stream.Recv()
				if err != nil {
					t.Errorf("%s: %v", s.user, err)
					return
				}
				switch m.Kind {
				case chatpb.Kind_MESSAGE:
					seen[i] = append(seen[i], line{m.Sequence, m.User, m.Message})
				case chatpb.Kind_ACKNOWLEDGEMENT:
					seen[i] = append(seen[i], line{m.Sequence, s.user, m.Message[len(chatpb.Acknowledged):]})
				}
			}
		})
		listening.Go(func() {
			for n := range each {
				if err := s.stream.Send(&chatpb.ChatMessage{Message: fmt.Sprint(n)}); err != nil {
					t.Errorf("%s: %v", s.user, err)
					return
				}
			}
		})
	}
	listening.Wait()
	counts := map[string]int{}
	for i, l := range seen[0] {
		if i > 0 && l.sequence <= seen[0][i-1].sequence {
			t.Fatalf("sequence %d follows %d", l.sequence, seen[0][i-1].sequence)
		}
		if l.text != fmt.Sprint(counts[l.user]) {
			t.Fatalf("%s's message %s comes after %d others", l.user, l.text, counts[l.user])
		}
		counts[l.user]++
	}
	for i := range seen {
		if !slices.Equal(seen[i], seen[0]) {
			t.Errorf("user%d sees another order than user0", i)
		}
	}
	last := seats[0]
	for n := range each {
		last.say(fmt.Sprint("last ", n))
	}
	if err := last.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	for n := range each {
		if m := last.heard(); m.Message != fmt.Sprint("Acknowledged: last ", n) {
			t.Fatalf("acknowledgement %d is %v", n, m)
		}
	}
	if err := last.end(); err != io.EOF {
		t.Errorf("after the half-close: %v, want OK", err)
	}
}

// Two streams of one user both get everything, each its own as acknowledgements.
func TestTwoStreamsOfOneUser(t *testing.T) {
	c := openRooms(t)
	alice := c.member("alice")
	one, two := c.join(alice, "lobby"), c.join(alice, "lobby")
	one.say("from one")
	if m := one.heard(); m.Kind != chatpb.Kind_ACKNOWLEDGEMENT {
		t.Errorf("the sending stream gets %v", m)
	}
	if m := two.heard(); m.Kind != chatpb.Kind_MESSAGE || m.User != "alice" || m.Message != "from one" {
		t.Errorf("the other stream gets %v", m)
	}
}

// A room for two is one room, whoever names the other.
func TestRoomsForTwo(t *testing.T) {
	c := openRooms(t)
	alice, bob := c.member("a.lice"), c.member("bob")
	one := c.join(alice, "@bob")
	two := c.join(bob, "@%61%2Elice") // as a client may escape it that escapes more than it must
	one.say("Servus")
	if m := two.heard(); m.User != "a.lice" || m.Message != "Servus" {
		t.Errorf("bob gets %v", m)
	}
	// A third party that names either of them is in another room.
	carol := c.join(c.member("carol"), "@bob")
	two.say("for alice alone")
	two.heard()
	one.heard()
	one.heard()
	carol.say("for bob and carol")
	if m := carol.heard(); m.Kind != chatpb.Kind_ACKNOWLEDGEMENT {
		t.Errorf("carol gets %v", m)
	}
	note := c.join(bob, "@bob") // a room of one's own
	note.say("buy milk")
	if m := note.heard(); m.Kind != chatpb.Kind_ACKNOWLEDGEMENT {
		t.Errorf("bob's own room gives %v", m)
	}
}

// A message that is sent again with its id is acknowledged with the sequence that
// it has, and nobody gets it twice; another user's same id is another message.
func TestRetriesAreStoredOnce(t *testing.T) { onEachLog(t, retriesAreStoredOnce) }

func retriesAreStoredOnce(t *testing.T, c *chatroom) {
	alice, bob := c.join(c.member("alice"), "lobby"), c.join(c.member("bob"), "lobby")
	alice.send(&chatpb.ChatMessage{Message: "one", Id: "1"})
	first := alice.heard()
	alice.send(&chatpb.ChatMessage{Message: "one again", Id: "1"})
	if again := alice.heard(); again.Sequence != first.Sequence || again.Id != "1" || again.Message != "Acknowledged: one" {
		t.Errorf("the retry is acknowledged by %v, want what %v said", again, first)
	}
	bob.send(&chatpb.ChatMessage{Message: "bob's", Id: "1"})
	for _, want := range []string{"one", "Acknowledged: bob's"} {
		if m := bob.heard(); m.Message != want {
			t.Errorf("bob gets %v, want %q", m, want)
		}
	}
}
