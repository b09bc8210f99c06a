package server_test

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"

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
	if late := time.Since(began); late > time.Second && !raceDetector {
		t.Errorf("the streams ended after %v, want a second at most", late)
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
