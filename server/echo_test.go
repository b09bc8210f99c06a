package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"regexp"
	"testing"
	"time"

	"go.uber.org/goleak"

	"securechat/auth/authtest"
	chatpb "securechat/proto/chat"
	"securechat/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start serves config, with the realm's certificates and tokens, on loopback
// until the test ends.
func start(t testing.TB, realm *authtest.Realm, config server.Config) string {
	t.Helper()
	if config.Certificates == nil {
		config.Certificates = realm.Server()
	}
	if config.Tokens == nil {
		config.Tokens = realm.Verifier()
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
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
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		srv.Shutdown(ctx)
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return listener.Addr().String()
}

// open opens a chat stream as user.
func open(t testing.TB, user *authtest.User, address string) chatpb.Chat_ChatStreamClient {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	stream, err := chatpb.NewChatClient(user.Dial(address)).ChatStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

func TestEchoAcknowledgesInOrderUntilHalfClose(t *testing.T) {
	realm := authtest.NewRealm(t)
	stream := open(t, realm.User("alice"), start(t, realm, server.Config{}))
	texts := []string{"Hello, server!", "", "How are you?"}
	for i := range 500 {
		texts = append(texts, fmt.Sprintf("message %d", i))
	}
	sent := make(chan error, 1)
	go func() {
		for i, text := range texts {
			if err := stream.Send(&chatpb.ChatMessage{User: "mallory", Message: text, Id: fmt.Sprint(i)}); err != nil {
				sent <- err
				return
			}
		}
		sent <- stream.CloseSend()
	}()
	form := regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`)
	for i, text := range texts {
		ack, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if ack.User != "Server" || ack.Message != "Acknowledged: "+text || ack.Id != fmt.Sprint(i) ||
			ack.Kind != chatpb.Kind_ACKNOWLEDGEMENT || ack.Sequence != 0 || !form.MatchString(ack.Timestamp) {
			t.Fatalf("acknowledgement %d of %q: %v", i, text, ack)
		}
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Fatalf("after the half-close: %v, want EOF", err)
	}
}

func TestAdmissionHeaders(t *testing.T) {
	realm := authtest.NewRealm(t)
	stream := open(t, realm.User("alice"), start(t, realm, server.Config{}))
	header, err := stream.Header() // before any message
	if err != nil {
		t.Fatal(err)
	}
	if got := header.Get("chat-user"); len(got) != 1 || got[0] != "alice" {
		t.Errorf("chat-user: %q, want alice", got)
	}
	if got := header.Get("chat-expires"); len(got) != 1 {
		t.Errorf("chat-expires: %q, want one time", got)
	} else if at, err := time.Parse(time.RFC3339, got[0]); err != nil || time.Until(at) > time.Hour || time.Until(at) < 58*time.Minute {
		t.Errorf("chat-expires: %q, want the token's expiry, an hour from now", got[0])
	}
}

// The longest session binds what the client is told too.
func TestAdmissionHeadersWithALongestSession(t *testing.T) {
	realm := authtest.NewRealm(t)
	stream := open(t, realm.User("alice"), start(t, realm, server.Config{MaxSession: 10 * time.Minute}))
	header, err := stream.Header()
	if err != nil {
		t.Fatal(err)
	}
	at, err := time.Parse(time.RFC3339, header.Get("chat-expires")[0])
	if err != nil || time.Until(at) > 10*time.Minute || time.Until(at) < 9*time.Minute {
		t.Errorf("chat-expires: %v, %v, want ten minutes from now", at, err)
	}
}
