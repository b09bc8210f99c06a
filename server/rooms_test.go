package server

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"securechat/auth"
	"securechat/auth/authtest"
	chatpb "securechat/proto/chat"
)

// serveRooms serves echoes in rooms, all of which there are unless openRoom says
// otherwise.
func serveRooms(t *testing.T, realm *authtest.Realm, openRoom func(context.Context, auth.Identity, string) error) (s *Server, address string) {
	t.Helper()
	s, err := assemble(Config{Certificates: realm.Server(), Tokens: realm.Verifier(), Log: slog.New(slog.DiscardHandler)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.openRoom = openRoom
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(listener) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		s.Shutdown(ctx)
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return s, listener.Addr().String()
}

func everyRoom(context.Context, auth.Identity, string) error { return nil }

// enter opens a stream in rooms, and says why it was refused.
func enter(t *testing.T, user *authtest.User, address string, rooms ...string) (chatpb.Chat_ChatStreamClient, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	for _, room := range rooms {
		ctx = metadata.AppendToOutgoingContext(ctx, chatpb.MetadataRoom, room)
	}
	stream, err := chatpb.NewChatClient(user.Dial(address)).ChatStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_ = stream.Send(&chatpb.ChatMessage{Message: "hello"}) // its error is Recv's
	_, err = stream.Recv()
	return stream, err
}

func policyOf(t *testing.T, text string) *RoomPolicy {
	t.Helper()
	p, err := ParseRoomPolicy([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func wantRefused(t *testing.T, err error, reason auth.Reason) {
	t.Helper()
	if got, _ := auth.ReasonOf(err); status.Code(err) != codes.PermissionDenied || got != reason {
		t.Errorf("got %v, want PERMISSION_DENIED, %s", err, reason)
	}
}

// Whoever is not to be in a room any more is put out within a second, and nobody
// else; from then on the room is closed to them.
func TestStreamsEndWhenTheRoomPolicyChanges(t *testing.T) {
	realm := authtest.NewRealm(t)
	s, address := serveRooms(t, realm, everyRoom)
	alice, bob := realm.User("alice"), realm.User("bob")
	carol, err := enter(t, realm.User("carol"), address, "ops")
	if err != nil {
		t.Fatal(err)
	}
	type open struct {
		user  *authtest.User
		rooms []string
	}
	live := map[string]chatpb.Chat_ChatStreamClient{}
	for name, o := range map[string]open{
		"closed": {alice, []string{"ops"}}, "expelled": {bob, []string{"dev"}},
		"undisturbed": {alice, []string{"dev"}}, "let in": {bob, []string{"ops"}}, "echo": {bob, nil},
	} {
		stream, err := enter(t, o.user, address, o.rooms...)
		if err != nil {
			t.Fatalf("%s, before the change: %v", name, err)
		}
		live[name] = stream
	}
	// Once she is out, the streams have been held against what held until then.
	s.SetRoomPolicy(policyOf(t, "expel carol ops"))
	_, err = carol.Recv()
	wantRefused(t, err, auth.Expelled)

	s.SetRoomPolicy(policyOf(t, "room ops bob\nexpel bob d*\n"))
	began := time.Now()
	for _, name := range []string{"closed", "expelled"} {
		_, err := live[name].Recv()
		wantRefused(t, err, auth.Expelled)
	}
	if late := time.Since(began); late > time.Second {
		t.Errorf("the streams ended after %v, want a second at most", late)
	}
	for _, name := range []string{"undisturbed", "let in", "echo"} {
		if err := live[name].Send(&chatpb.ChatMessage{Message: "still here"}); err != nil {
			t.Fatal(err)
		}
		if _, err := live[name].Recv(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err = enter(t, alice, address, "ops")
	wantRefused(t, err, auth.RoomDenied)
	_, err = enter(t, bob, address, "dev")
	wantRefused(t, err, auth.RoomDenied)
	s.SetRoomPolicy(nil)
	if _, err := enter(t, alice, address, "ops"); err != nil {
		t.Errorf("without a policy: %v", err)
	}
}

// One stream is one room.
func TestAStreamOfTwoRoomsIsRefused(t *testing.T) {
	realm := authtest.NewRealm(t)
	_, address := serveRooms(t, realm, everyRoom)
	_, err := enter(t, realm.User("alice"), address, "ops", "dev")
	wantRefused(t, err, auth.RoomDenied)
}

// The room policy opens no room that there is none of.
func TestTheRoomPolicyAddsNoRooms(t *testing.T) {
	realm := authtest.NewRealm(t)
	s, address := serveRooms(t, realm, noRooms)
	s.SetRoomPolicy(policyOf(t, "room * *"))
	_, err := enter(t, realm.User("alice"), address, "ops")
	wantRefused(t, err, auth.RoomDenied)
}
