package server_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"securechat/auth"
	"securechat/auth/authtest"
	authpb "securechat/proto/auth/v1"
	chatpb "securechat/proto/chat"
	"securechat/server"
)

// opened is how a stream with metadata that is to be refused ends.
func (c *chatroom) opened(user *authtest.User, pairs ...string) error {
	c.t.Helper()
	_, err := c.stream(user, pairs...).Recv()
	return err
}

func TestRoomsThatAreRefused(t *testing.T) {
	c := openRooms(t)
	for _, test := range []struct {
		name   string
		token  func(*auth.MintClaims)
		pairs  []string
		code   codes.Code
		reason auth.Reason
	}{
		{"no scope", rights("", "*"), []string{"chat-room", "lobby"}, codes.PermissionDenied, auth.ScopeMissing},
		// Who may send and not read has no way to be in a room.
		{"the scope to send alone", rights("w", "*"), []string{"chat-room", "lobby"}, codes.PermissionDenied, auth.ScopeMissing},
		{"a token without rooms", rights("rw"), []string{"chat-room", "lobby"}, codes.PermissionDenied, auth.RoomDenied},
		{"a token for another room", rights("rw", "ops"), []string{"chat-room", "lobby"}, codes.PermissionDenied, auth.RoomDenied},
		// "*" is for rooms with names: nobody means it to open all conversations of two.
		{"a token for all named rooms, and a pair", rights("rw", "*"), []string{"chat-room", "@bob"}, codes.PermissionDenied, auth.RoomDenied},
		{"a token for another pair", rights("rw", "@carol"), []string{"chat-room", "@bob"}, codes.PermissionDenied, auth.RoomDenied},
		{"a name that is none", rights("rw", "*"), []string{"chat-room", "No Such Room"}, codes.InvalidArgument, auth.RoomInvalid},
		{"two rooms", rights("rw", "*"), []string{"chat-room", "a", "chat-room", "b"}, codes.InvalidArgument, auth.RoomInvalid},
		{"a cursor that is none", rights("rw", "*"), []string{"chat-room", "a", "chat-after", "newest"}, codes.InvalidArgument, auth.CursorInvalid},
		{"a cursor without a room", rights("rw", "*"), []string{"chat-after", "0"}, codes.InvalidArgument, auth.CursorInvalid},
		// A cursor of another log must not hide what this one has.
		{"a cursor that the log has not given", rights("rw", "*"), []string{"chat-room", "a", "chat-after", "4711"}, codes.OutOfRange, auth.CursorGone},
	} {
		t.Run(test.name, func(t *testing.T) {
			stream := c.stream(c.realm.User("alice", test.token), test.pairs...)
			_, err := stream.Recv()
			wantReason(t, err, test.code, test.reason)
			if header, _ := stream.Header(); len(header.Get("chat-user")) > 0 {
				t.Error("the stream was admitted before it was refused")
			}
		})
	}
}

// A room that is closed to the caller, one that nobody has ever used, and any room
// of a server that keeps none are told apart by no byte.
func TestClosedAndAbsentRoomsAreAlike(t *testing.T) {
	c, bare := openRooms(t), &chatroom{t: t}
	bare.realm = c.realm
	bare.address = start(t, c.realm, server.Config{})
	bob := c.join(c.member("bob"), "used")
	bob.say("there is something in it")
	bob.heard()
	alice := c.realm.User("alice", rights("rw", "lobby"))
	calls := map[string]func(server *chatroom, name string) error{
		"chatStream": func(server *chatroom, name string) error { return server.opened(alice, "chat-room", name) },
		"chatStream with a cursor": func(server *chatroom, name string) error {
			return server.opened(alice, "chat-room", name, "chat-after", "0")
		},
		"History": func(server *chatroom, name string) error {
			_, err := chatpb.NewChatClient(alice.Dial(server.address)).History(t.Context(), &chatpb.HistoryRequest{Room: name})
			return err
		},
		"Members": func(server *chatroom, name string) error {
			_, err := chatpb.NewChatClient(alice.Dial(server.address)).Members(t.Context(), &chatpb.MembersRequest{Room: name})
			return err
		},
	}
	var first []byte
	for what, call := range calls {
		for _, room := range []struct {
			server *chatroom
			name   string
		}{{c, "used"}, {c, "never-used"}, {c, "@bob"}, {c, "@nobody"}, {bare, "used"}, {bare, "lobby"}} {
			err := call(room.server, room.name)
			wantReason(t, err, codes.PermissionDenied, auth.RoomDenied)
			told, err := proto.MarshalOptions{Deterministic: true}.Marshal(status.Convert(err).Proto())
			if err != nil {
				t.Fatal(err)
			}
			if first == nil {
				first = told
			}
			if !bytes.Equal(told, first) {
				t.Errorf("%s of %q is told %q, others %q", what, room.name, told, first)
			}
		}
	}
}

func TestRequestsThatAreRefused(t *testing.T) {
	c := openRooms(t)
	reader := chatpb.NewChatClient(c.realm.User("alice", rights("r", "*")).Dial(c.address))
	writer := chatpb.NewChatClient(c.realm.User("bob", rights("w", "*")).Dial(c.address))
	one := proto.Uint64(1)
	for name, test := range map[string]struct {
		call   func(context.Context) error
		code   codes.Code
		reason auth.Reason
	}{
		"history without the scope": {func(ctx context.Context) error {
			_, err := writer.History(ctx, &chatpb.HistoryRequest{Room: "lobby"})
			return err
		}, codes.PermissionDenied, auth.ScopeMissing},
		"members without the scope": {func(ctx context.Context) error {
			_, err := writer.Members(ctx, &chatpb.MembersRequest{Room: "lobby"})
			return err
		}, codes.PermissionDenied, auth.ScopeMissing},
		"rooms without the scope": {func(ctx context.Context) error {
			_, err := writer.Rooms(ctx, &chatpb.RoomsRequest{})
			return err
		}, codes.PermissionDenied, auth.ScopeMissing},
		"history of no room": {func(ctx context.Context) error {
			_, err := reader.History(ctx, &chatpb.HistoryRequest{})
			return err
		}, codes.InvalidArgument, auth.RoomInvalid},
		"members of no room": {func(ctx context.Context) error {
			_, err := reader.Members(ctx, &chatpb.MembersRequest{Room: "*"})
			return err
		}, codes.InvalidArgument, auth.RoomInvalid},
		"history in both directions": {func(ctx context.Context) error {
			_, err := reader.History(ctx, &chatpb.HistoryRequest{Room: "lobby", After: one, Before: one})
			return err
		}, codes.InvalidArgument, auth.CursorInvalid},
	} {
		t.Run(name, func(t *testing.T) { wantReason(t, test.call(t.Context()), test.code, test.reason) })
	}
}

// What a member may not send ends its stream, after what it had sent before has
// been acknowledged.
func TestMessagesThatRoomsRefuse(t *testing.T) {
	c := openRooms(t)
	for name, test := range map[string]struct {
		scopes  string
		message *chatpb.ChatMessage
		code    codes.Code
		reason  auth.Reason
	}{
		"a message without the scope":  {"r", &chatpb.ChatMessage{Message: "hello"}, codes.PermissionDenied, auth.ScopeMissing},
		"typing without the scope":     {"r", &chatpb.ChatMessage{Kind: chatpb.Kind_TYPING}, codes.PermissionDenied, auth.ScopeMissing},
		"an acknowledgement":           {"rw", &chatpb.ChatMessage{Kind: chatpb.Kind_ACKNOWLEDGEMENT}, codes.InvalidArgument, auth.MessageInvalid},
		"somebody's leaving":           {"rw", &chatpb.ChatMessage{Kind: chatpb.Kind_LEFT}, codes.InvalidArgument, auth.MessageInvalid},
		"a kind that there is not":     {"rw", &chatpb.ChatMessage{Kind: 99}, codes.InvalidArgument, auth.MessageInvalid},
		"an id of more than 64 bytes":  {"rw", &chatpb.ChatMessage{Id: strings.Repeat("i", 65)}, codes.InvalidArgument, auth.MessageInvalid},
		"more than 256 KiB of message": {"rw", &chatpb.ChatMessage{Message: strings.Repeat("x", 256<<10)}, codes.ResourceExhausted, auth.MessageTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			alice := c.join(c.realm.User("alice", rights(test.scopes, "*")), "lobby")
			if strings.Contains(test.scopes, "w") {
				alice.say("before")
			}
			alice.send(test.message)
			_ = alice.stream.Send(&chatpb.ChatMessage{Message: "after"}) // the stream may have ended already
			if strings.Contains(test.scopes, "w") {
				if m := alice.heard(); m.Message != "Acknowledged: before" {
					t.Errorf("got %v", m)
				}
			}
			wantReason(t, alice.end(), test.code, test.reason)
		})
	}
	bob := c.join(c.member("bob"), "lobby")
	if m := chatHistory(t, c, "bob", "lobby"); len(m) != 5 {
		t.Errorf("the room has %d messages, want the 5 that came before those", len(m))
	}
	bob.say("still open")
	bob.heard()
}

// chatHistory is all that a room has.
func chatHistory(t testing.TB, c *chatroom, user, name string) []*chatpb.ChatMessage {
	t.Helper()
	page, err := chatpb.NewChatClient(c.member(user).Dial(c.address)).History(context.Background(), &chatpb.HistoryRequest{Room: name, After: proto.Uint64(0), Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return page.Messages
}

// A refresh that takes a member's rights away takes effect in the live stream, and
// leaves it alone where they are enough.
func TestRefreshesThatNarrow(t *testing.T) {
	const room = "team-1"
	for name, test := range map[string]struct {
		to     func(*auth.MintClaims)
		reason auth.Reason // empty: the stream lives on
	}{
		"to another room":         {rights("rw", "team-2"), auth.Expelled},
		"to no room":              {rights("rw"), auth.Expelled},
		"to pairs":                {rights("rw", "@*"), auth.Expelled},
		"to sending":              {rights("w", "team-*"), auth.ScopeMissing},
		"to the room itself":      {rights("rw", "team-1"), ""},
		"to nothing less at all":  {rights("rw", "team-*"), ""},
		"to reading, by a reader": {rights("r", "team-*"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := openRooms(t)
			bob := c.join(c.member("bob"), room)
			alice := c.realm.User("alice", rights("rw", "team-*"))
			token := alice.Token
			alice.Token = ""
			conn := alice.Dial(c.address)
			as := func(token string) context.Context {
				ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
				t.Cleanup(cancel)
				return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
			}
			stream, err := chatpb.NewChatClient(conn).ChatStream(metadata.AppendToOutgoingContext(as(token), "chat-room", room))
			if err != nil {
				t.Fatal(err)
			}
			live := &seat{t: t, user: "alice", stream: stream}
			live.until(chatpb.Kind_LIVE)
			if _, err := authpb.NewSessionClient(conn).Refresh(as(alice.Mint(test.to)), &authpb.RefreshRequest{}); err != nil {
				t.Fatal(err)
			}
			if test.reason != "" {
				wantReason(t, live.end(), codes.PermissionDenied, test.reason)
				return
			}
			bob.say("still there?")
			if m := live.heard(); m.Message != "still there?" {
				t.Errorf("alice gets %v", m)
			}
			if err := stream.CloseSend(); err != nil {
				t.Fatal(err)
			}
			if err := live.end(); !errors.Is(err, io.EOF) {
				t.Errorf("the stream ends with %v", err)
			}
		})
	}
}

// Who no longer may send goes on reading until sending something.
func TestARefreshThatTakesTheRightToSend(t *testing.T) {
	c := openRooms(t)
	alice := c.realm.User("alice", rights("rw", "*"))
	token := alice.Token
	alice.Token = ""
	conn := alice.Dial(c.address)
	as := func(token string) context.Context {
		return metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token)
	}
	stream, err := chatpb.NewChatClient(conn).ChatStream(metadata.AppendToOutgoingContext(as(token), "chat-room", "lobby"))
	if err != nil {
		t.Fatal(err)
	}
	live := &seat{t: t, user: "alice", stream: stream}
	live.until(chatpb.Kind_LIVE)
	live.say("I may")
	live.heard()
	if _, err := authpb.NewSessionClient(conn).Refresh(as(alice.Mint(rights("r", "*"))), &authpb.RefreshRequest{}); err != nil {
		t.Fatal(err)
	}
	live.say("may I?")
	wantReason(t, live.end(), codes.PermissionDenied, auth.ScopeMissing)
}

// A user whom an operator puts out learns so, and the others that the user left.
func TestAnOperatorEndsAMembership(t *testing.T) {
	c := openRooms(t)
	alice := c.join(c.member("alice"), "lobby")
	bob := c.join(c.member("bob"), "lobby")
	for _, session := range c.server.Sessions() {
		if session.User == "bob" && !c.server.End(session.ID) {
			t.Fatal("bob's session was not there to end")
		}
	}
	wantReason(t, bob.end(), codes.PermissionDenied, auth.Expelled)
	if m := alice.until(chatpb.Kind_LEFT); m.User != "bob" {
		t.Errorf("alice is told %v, want that bob left", m)
	}
}
