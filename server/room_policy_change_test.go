package server_test

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"securechat/auth"
	chatpb "securechat/proto/chat"
	"securechat/server"
)

// Whoever is not to be in a room any more is put out within a second, and nobody
// else; from then on the room is closed to them.
func TestStreamsEndWhenTheRoomPolicyChanges(t *testing.T) {
	c := openRooms(t)
	alice, bob := c.member("alice"), c.member("bob")
	closed, expelled, pair := c.join(alice, "ops"), c.join(bob, "dev"), c.join(bob, "@alice")
	undisturbed, letIn := c.join(alice, "dev"), c.join(bob, "ops")
	echoing := c.stream(bob)
	wantAlive(t, echoing)

	c.server.SetRoomPolicy(parsePolicy(t, "room ops bob\nexpel bob d*\nexpel bob @alice\n"))
	began := time.Now()
	for _, s := range []*seat{closed, expelled, pair} {
		wantReason(t, s.end(), codes.PermissionDenied, auth.Expelled)
	}
	if late := time.Since(began); late > 5*time.Second { // the second itself is measured with the program
		t.Errorf("the streams ended after %v, want them soon", late)
	}
	if m := undisturbed.until(chatpb.Kind_LEFT); m.User != "bob" {
		t.Errorf("alice is told %v, want that bob left", m)
	}
	wantAlive(t, echoing)
	for _, s := range []*seat{undisturbed, letIn} {
		s.say("still here")
		if m := s.heard(); m.Kind != chatpb.Kind_ACKNOWLEDGEMENT {
			t.Errorf("%s gets %v", s.user, m)
		}
	}
	for _, err := range []error{
		c.opened(alice, "chat-room", "ops"), c.opened(bob, "chat-room", "dev"),
		c.opened(bob, "chat-room", "@%61lice"), // however it is written
	} {
		wantReason(t, err, codes.PermissionDenied, auth.RoomDenied)
	}
	_, err := chatpb.NewChatClient(alice.Dial(c.address)).History(t.Context(), &chatpb.HistoryRequest{Room: "ops"})
	wantReason(t, err, codes.PermissionDenied, auth.RoomDenied)
	c.server.SetRoomPolicy(nil)
	c.join(alice, "ops")
}

// The policy opens nothing by itself: the token has to as well, and there have to be rooms.
func TestTheRoomPolicyOpensNothing(t *testing.T) {
	c := openRooms(t)
	c.server.SetRoomPolicy(parsePolicy(t, "room * *"))
	err := c.opened(c.realm.User("alice", rights("rw", "lobby")), "chat-room", "ops")
	wantReason(t, err, codes.PermissionDenied, auth.RoomDenied)
	bare := openRooms(t, func(config *server.Config) { config.Rooms = server.Rooms{} })
	bare.server.SetRoomPolicy(parsePolicy(t, "room * *"))
	wantReason(t, bare.opened(bare.member("alice"), "chat-room", "ops"), codes.PermissionDenied, auth.RoomDenied)
}

// An expulsion counts however the room is written, and whatever characters the
// other user's name has.
func TestExpulsionsCannotBeEvaded(t *testing.T) {
	c := openRooms(t)
	conn := chatpb.NewChatClient(c.member("mallory").Dial(c.address))
	opened := func(name string) error {
		stream, err := conn.ChatStream(metadata.AppendToOutgoingContext(t.Context(), "chat-room", name))
		if err != nil {
			return err
		}
		if err := stream.CloseSend(); err != nil {
			return err
		}
		_, err = stream.Recv()
		return err
	}
	for _, test := range []struct {
		glob, room string
		code       codes.Code
		reason     auth.Reason
	}{
		{"*", "@a/b", codes.PermissionDenied, auth.RoomDenied},
		{"@*", "@a%2Fb", codes.PermissionDenied, auth.RoomDenied},
		{"@[!-~]*", "@/x", codes.PermissionDenied, auth.RoomDenied}, // the slash is in the range
		{"@a?b", "@a/b", codes.PermissionDenied, auth.RoomDenied},
		{"@bob", "@%62ob", codes.PermissionDenied, auth.RoomDenied},
		{"@b[o]b", "@b%6fb", codes.PermissionDenied, auth.RoomDenied},
		{"@é", "@%C3%A9", codes.PermissionDenied, auth.RoomDenied},
		{"@é", "@%c3%a9", codes.PermissionDenied, auth.RoomDenied},
		{"@e\u0301*", "@%C3%A9", codes.PermissionDenied, auth.RoomDenied}, // one form of Unicode in the policy,
		{"@é", "@e%CC%81", codes.InvalidArgument, auth.RoomInvalid},       // and in a name the other, which is nobody's
		{"ops", "%6fps", codes.InvalidArgument, auth.RoomInvalid},         // only pairs are escaped
		{"ops", "OPS", codes.InvalidArgument, auth.RoomInvalid},
	} {
		c.server.SetRoomPolicy(parsePolicy(t, "expel mallory "+test.glob))
		_, err := conn.History(t.Context(), &chatpb.HistoryRequest{Room: test.room})
		for call, err := range map[string]error{"chatStream": opened(test.room), "History": err} {
			if reason, _ := auth.ReasonOf(err); status.Code(err) != test.code || reason != test.reason {
				t.Errorf("expelled from %q, %s of %q: %v, want %v, %s", test.glob, call, test.room, err, test.code, test.reason)
			}
		}
	}
}

// What a user may not read any more is not answered, though it was asked for before.
func TestCallsThatThePolicyOvertakes(t *testing.T) {
	log := newHeldLog(t)
	c := openRooms(t, onLog(log))
	alice := c.client(c.member("alice"))
	after := uint64(0)
	answer := make(chan error, 1)
	go func() {
		_, err := alice.History(t.Context(), &chatpb.HistoryRequest{Room: "held", After: &after})
		answer <- err
	}()
	waitFor(t, "call that reads", func() bool { return log.held.Load() == 1 })
	c.server.SetRoomPolicy(parsePolicy(t, "expel alice held"))
	log.letGo()
	wantReason(t, <-answer, codes.PermissionDenied, auth.RoomDenied)
}

// So do streams that are on their way into a room or stuck in its replay.
func TestThePolicyReachesStreamsThatAreBusy(t *testing.T) {
	messages, _ := filled(t, 64, 200<<10)
	log := newHeldLog(t)
	log.Memory = messages
	lines := &journal{}
	c := openRooms(t, onLog(log), patient, func(config *server.Config) { config.Log = lines.logger() })
	coming := c.stream(c.member("alice"), "chat-room", "held")
	waitFor(t, "room that is being loaded", func() bool { return log.held.Load() == 1 })
	stuck := c.resume(c.member("bob"), "lobby", 0)
	stuck.heard()

	c.server.SetRoomPolicy(parsePolicy(t, "room held carol\nroom lobby carol"))
	_, err := coming.Recv()
	wantReason(t, err, codes.PermissionDenied, auth.Expelled)
	if header, _ := coming.Header(); len(header.Get("chat-user")) > 0 {
		t.Error("the stream was admitted")
	}
	waitFor(t, "line that the stuck stream ended", func() bool {
		ended := lines.lines(t, "ended")
		return len(ended) == 1 && ended[0]["reason"] == "EXPELLED" && ended[0]["user"] == "bob"
	})
	log.letGo()
	carol := c.client(c.member("carol"))
	for _, name := range []string{"held", "lobby"} {
		waitFor(t, "empty room "+name, func() bool {
			present, err := carol.Members(t.Context(), &chatpb.MembersRequest{Room: name})
			return err == nil && len(present.Members) == 0
		})
	}
	wantReason(t, stuck.end(), codes.PermissionDenied, auth.Expelled)
}
