package server_test

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"

	"securechat/auth"
	"securechat/auth/authtest"
	chatpb "securechat/proto/chat"
	"securechat/server"
	"securechat/server/room"
	"securechat/server/room/jetstream"
	"securechat/server/room/roomtest"
)

// A chatroom is a server with rooms, over real mutual TLS.
type chatroom struct {
	t       testing.TB
	realm   *authtest.Realm
	server  *server.Server
	address string
	stop    func(within time.Duration)
}

// openRooms serves rooms on a log in memory until the test ends.
func openRooms(t testing.TB, change ...func(*server.Config)) *chatroom {
	t.Helper()
	c := &chatroom{t: t, realm: authtest.NewRealm(t)}
	config := server.Config{
		Certificates: c.realm.Server(), Tokens: c.realm.Verifier(), Log: slog.New(slog.DiscardHandler),
		Rooms: server.Rooms{Log: roomtest.NewMemory()},
	}
	for _, f := range change {
		f(&config)
	}
	srv, err := server.New(config)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(listener) }()
	c.server, c.address = srv, listener.Addr().String()
	var once sync.Once
	c.stop = func(within time.Duration) {
		once.Do(func() {
			ctx, cancel := context.WithTimeout(context.Background(), within)
			defer cancel()
			srv.Shutdown(ctx)
			if err := <-served; err != nil {
				t.Errorf("serve: %v", err)
			}
		})
	}
	t.Cleanup(func() { c.stop(0) })
	return c
}

// onLog keeps the rooms in a log of the test's.
func onLog(log room.Log) func(*server.Config) {
	return func(c *server.Config) { c.Rooms.Log = log }
}

// onEachLog runs a test on a log in memory and on the embedded one.
func onEachLog(t *testing.T, test func(t *testing.T, c *chatroom)) {
	t.Helper()
	t.Run("memory", func(t *testing.T) { test(t, openRooms(t)) })
	t.Run("embedded", func(t *testing.T) {
		log, err := jetstream.Embedded(jetstream.EmbeddedConfig{Dir: filepath.Join(t.TempDir(), "rooms")})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = log.Close() }) // once the server has ended
		test(t, openRooms(t, onLog(log)))
	})
}

// rights are what a token may say of rooms.
func rights(scopes string, rooms ...string) func(*auth.MintClaims) {
	return func(c *auth.MintClaims) {
		c.Rooms = rooms
		c.Scopes = nil
		for _, scope := range scopes {
			c.Scopes = append(c.Scopes, map[rune]string{'r': "chat:read", 'w': "chat:write"}[scope])
		}
	}
}

// member makes a user who may open and say everything.
func (c *chatroom) member(name string) *authtest.User {
	c.t.Helper()
	return c.realm.User(name, rights("rw", "*", "@*"))
}

// A seat is a user's stream in a room.
type seat struct {
	t      testing.TB
	user   string
	stream chatpb.Chat_ChatStreamClient
}

// stream opens a stream with metadata and does not wait for its admission.
func (c *chatroom) stream(user *authtest.User, pairs ...string) chatpb.Chat_ChatStreamClient {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(context.Background(), pairs...), 30*time.Second)
	c.t.Cleanup(cancel)
	stream, err := chatpb.NewChatClient(user.Dial(c.address)).ChatStream(ctx)
	if err != nil {
		c.t.Fatal(err)
	}
	return stream
}

// join opens a stream in a room and waits until it is live.
func (c *chatroom) join(user *authtest.User, name string) *seat {
	c.t.Helper()
	s := &seat{t: c.t, user: user.Name, stream: c.stream(user, "chat-room", name)}
	if m := s.next(); m.Kind != chatpb.Kind_LIVE || m.User != "Server" {
		c.t.Fatalf("the first that %s gets is %v, want LIVE", user.Name, m)
	}
	return s
}

// next receives whatever comes.
func (s *seat) next() *chatpb.ChatMessage {
	s.t.Helper()
	m, err := s.stream.Recv()
	if err != nil {
		s.t.Fatalf("%s receives: %v", s.user, err)
	}
	if _, err := time.Parse(chatpb.TimestampFormat, m.Timestamp); err != nil {
		s.t.Errorf("%s gets the timestamp %q: %v", s.user, m.Timestamp, err)
	}
	return m
}

// heard receives until a message or an acknowledgement comes.
func (s *seat) heard() *chatpb.ChatMessage {
	s.t.Helper()
	for {
		if m := s.next(); m.Kind == chatpb.Kind_MESSAGE || m.Kind == chatpb.Kind_ACKNOWLEDGEMENT {
			return m
		}
	}
}

// until receives until an event of the kind comes.
func (s *seat) until(kind chatpb.Kind) *chatpb.ChatMessage {
	s.t.Helper()
	for {
		if m := s.next(); m.Kind == kind {
			return m
		}
	}
}

func (s *seat) say(text string) {
	s.t.Helper()
	s.send(&chatpb.ChatMessage{Message: text})
}

func (s *seat) send(m *chatpb.ChatMessage) {
	s.t.Helper()
	if err := s.stream.Send(m); err != nil {
		s.t.Fatalf("%s sends: %v", s.user, err)
	}
}

// end receives until the stream ends.
func (s *seat) end() error {
	for {
		if _, err := s.stream.Recv(); err != nil {
			return err
		}
	}
}
