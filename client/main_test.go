package client

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"securechat/auth/authtest"
	"securechat/certs"
	chatpb "securechat/proto/chat"
	"securechat/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

func patient(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// startServer runs the real server and returns its address.
func startServer(t testing.TB, realm *authtest.Realm, change ...func(*server.Config)) string {
	t.Helper()
	config := server.Config{Certificates: realm.Server(), Tokens: realm.Verifier(), Log: slog.New(slog.DiscardHandler)}
	for _, f := range change {
		f(&config)
	}
	srv, err := server.New(config)
	must(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(listener) }()
	t.Cleanup(func() {
		now, cancel := context.WithCancel(context.Background())
		cancel()
		srv.Shutdown(now)
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return listener.Addr().String()
}

// A handler stands in for a server's, to do what ours does not.
type handler func(chatpb.Chat_ChatStreamServer) error

type oddChat struct {
	chatpb.UnimplementedChatServer
	handler handler
}

func (c oddChat) ChatStream(stream chatpb.Chat_ChatStreamServer) error { return c.handler(stream) }

// startOdd runs a server over the realm's TLS that has the handler and no guard.
func startOdd(t testing.TB, realm *authtest.Realm, h handler) string {
	t.Helper()
	srv := grpc.NewServer(grpc.Creds(certs.ServerCredentials(realm.Server())), grpc.StaticStreamWindowSize(64<<10))
	chatpb.RegisterChatServer(srv, oddChat{handler: h})
	return realm.Serve(srv)
}

// dial returns a connection of the user's; nil: the changes say whose.
func dial(t testing.TB, user *authtest.User, address string, change ...func(*Config)) *Conn {
	t.Helper()
	config := Config{Server: address, ServerName: authtest.ServerName}
	if user != nil {
		config.Certificates = user.Certificates
		config.Token = TokenFunc(func(context.Context) (string, error) { return user.Token, nil })
	}
	for _, f := range change {
		f(&config)
	}
	conn, err := Dial(config)
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func open(t testing.TB, conn *Conn) *Stream {
	t.Helper()
	stream, err := conn.Open(patient(t))
	must(t, err)
	t.Cleanup(func() { _ = stream.Close() })
	return stream
}
