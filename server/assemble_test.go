package server

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/status"

	"securechat/auth"
	"securechat/auth/authtest"
	chatpb "securechat/proto/chat"
)

// panicking is a chat whose handler panics at the first message.
type panicking struct{ chatpb.UnimplementedChatServer }

func (panicking) ChatStream(stream chatpb.Chat_ChatStreamServer) error {
	if _, err := stream.Recv(); err != nil {
		return err
	}
	panic("inner workings")
}

// seeing is a chat whose handler says whom it saw as the author.
type seeing struct {
	chatpb.UnimplementedChatServer
	users chan string
}

func (s seeing) ChatStream(stream chatpb.Chat_ChatStreamServer) error {
	for {
		m, err := stream.Recv()
		if err != nil {
			return nil
		}
		s.users <- m.User
	}
}

// serveBehindChain serves a service of the test's until the test ends.
func serveBehindChain(t *testing.T, realm *authtest.Realm, service chatpb.ChatServer, log *slog.Logger) (address string, stop func()) {
	t.Helper()
	s, err := assemble(Config{Certificates: realm.Server(), Tokens: realm.Verifier(), Log: log}, service)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(listener) }()
	stop = sync.OnceFunc(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		s.Shutdown(ctx)
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return listener.Addr().String(), stop
}

func TestTheHandlerSeesTheVerifiedUser(t *testing.T) {
	realm := authtest.NewRealm(t)
	users := make(chan string, 3)
	address, _ := serveBehindChain(t, realm, seeing{users: users}, slog.New(slog.DiscardHandler))
	stream, err := chatpb.NewChatClient(realm.User("alice").Dial(address)).ChatStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, claimed := range []string{"mallory", "", "Server"} {
		if err := stream.Send(&chatpb.ChatMessage{User: claimed}); err != nil {
			t.Fatal(err)
		}
		if seen := <-users; seen != "alice" {
			t.Errorf("the handler saw %q for a message that claims %q, want alice", seen, claimed)
		}
	}
}

func TestAPanicEndsItsCallAsInternal(t *testing.T) {
	realm := authtest.NewRealm(t)
	var log bytes.Buffer
	address, stop := serveBehindChain(t, realm, panicking{}, slog.New(slog.NewTextHandler(&log, nil)))
	client := chatpb.NewChatClient(realm.User("alice").Dial(address))
	for range 2 { // the server lives on
		stream, err := client.ChatStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(&chatpb.ChatMessage{}); err != nil {
			t.Fatal(err)
		}
		_, err = stream.Recv()
		if reason, _ := auth.ReasonOf(err); status.Code(err) != codes.Internal || reason != auth.Internal {
			t.Errorf("got %v, want INTERNAL", err)
		}
		if strings.Contains(err.Error(), "inner workings") || strings.Contains(err.Error(), "goroutine") {
			t.Errorf("the client is told %v", err)
		}
	}
	stop()
	if text := log.String(); strings.Count(text, "inner workings") < 2 || !strings.Contains(text, "panicking.ChatStream") {
		t.Errorf("the log lacks the panic or its stack:\n%s", text)
	}
}

// failing is a chat whose handler returns an error as it came.
type failing struct{ chatpb.UnimplementedChatServer }

func (failing) ChatStream(chatpb.Chat_ChatStreamServer) error {
	return wrapped{errorString("inner workings")}
}

func TestAHandlersErrorStaysInside(t *testing.T) {
	realm := authtest.NewRealm(t)
	var log bytes.Buffer
	address, stop := serveBehindChain(t, realm, failing{}, slog.New(slog.NewTextHandler(&log, nil)))
	stream, err := chatpb.NewChatClient(realm.User("alice").Dial(address)).ChatStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = stream.Recv()
	if reason, _ := auth.ReasonOf(err); status.Code(err) != codes.Internal || reason != auth.Internal || strings.Contains(err.Error(), "inner") {
		t.Errorf("the client is told %v, want INTERNAL and nothing of the cause", err)
	}
	stop()
	if !strings.Contains(log.String(), "inner workings") {
		t.Errorf("the log lacks the cause:\n%s", log.String())
	}
}

func TestAUnaryHandlersErrorStaysInside(t *testing.T) {
	realm := authtest.NewRealm(t)
	s, err := assemble(Config{Certificates: realm.Server(), Tokens: realm.Verifier(), Log: slog.New(slog.DiscardHandler)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.observe().Unary(t.Context(), nil, &grpc.UnaryServerInfo{FullMethod: "/a.B/C"}, func(context.Context, any) (any, error) {
		return nil, errorString("inner workings")
	})
	if status.Code(err) != codes.Internal || strings.Contains(err.Error(), "inner") {
		t.Errorf("the client is told %v, want INTERNAL and nothing of the cause", err)
	}
}

// lingering is a chat whose handler takes no notice of the end of its stream.
type lingering struct {
	chatpb.UnimplementedChatServer
	release <-chan struct{}
	left    *atomic.Bool
}

func (l lingering) ChatStream(chatpb.Chat_ChatStreamServer) error {
	<-l.release
	l.left.Store(true)
	return nil
}

// Shutdown is over when no handler runs any more, even one that was cut.
func TestShutdownWaitsForHandlersThatWereCut(t *testing.T) {
	realm := authtest.NewRealm(t)
	release, left := make(chan struct{}), &atomic.Bool{}
	s, err := assemble(Config{
		Certificates: realm.Server(), Tokens: realm.Verifier(), Log: slog.New(slog.DiscardHandler),
	}, lingering{release: release, left: left})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(listener) }()
	alice := realm.User("alice")
	stream, err := chatpb.NewChatClient(alice.Dial(listener.Addr().String())).ChatStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Header(); err != nil { // it is admitted
		t.Fatal(err)
	}
	for _, session := range s.Sessions() {
		s.End(session.ID)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.PermissionDenied {
		t.Fatalf("the stream ended with %v, want PERMISSION_DENIED", err)
	}
	time.AfterFunc(50*time.Millisecond, func() { close(release) })
	s.Shutdown(t.Context())
	if !left.Load() {
		t.Error("Shutdown returned before the handler did")
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestWire(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		code codes.Code
		text string
	}{
		"nothing":             {nil, codes.OK, ""},
		"a foreign error":     {errorString("password"), codes.Internal, "the server failed; its log has the cause"},
		"a wrapped refusal":   {wrapped{auth.Refusef(auth.TokenExpired, "secret")}, codes.Unauthenticated, "the token has expired: obtain a new one"},
		"a wrapped status":    {wrapped{status.Error(codes.NotFound, "inner")}, codes.NotFound, "NotFound"},
		"a status":            {status.Error(codes.NotFound, "no such thing"), codes.NotFound, "no such thing"},
		"a status of UNKNOWN": {status.Error(codes.Unknown, "leak"), codes.Internal, "the server failed; its log has the cause"},
		"a cancelled context": {context.Canceled, codes.Canceled, "the call was cancelled"},
		"a passed deadline":   {wrapped{context.DeadlineExceeded}, codes.DeadlineExceeded, "the call's deadline has passed"},
	} {
		if st := status.Convert(wire(test.err)); st.Code() != test.code || st.Message() != test.text {
			t.Errorf("%s: %v, want %s %q", name, st, test.code, test.text)
		}
	}
}

type errorString string

func (e errorString) Error() string { return string(e) }

type wrapped struct{ error }

func (w wrapped) Error() string { return "outer: " + w.error.Error() }
func (w wrapped) Unwrap() error { return w.error }

// What the codec keeps of a request that is refused is let go, whichever step
// refuses it.
func TestRefusedRequestsAreLetGo(t *testing.T) {
	realm := authtest.NewRealm(t)
	s, err := assemble(Config{Certificates: realm.Server(), Tokens: realm.Verifier(), Log: slog.New(slog.DiscardHandler)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(listener) }()
	prober := realm.User("prober")
	prober.Token = ""
	conn := prober.Dial(listener.Addr().String())
	// A text that is said to be longer than what follows.
	broken := &chatpb.ChatMessage{}
	broken.ProtoReflect().SetUnknown([]byte{1<<3 | 2, 200, 1, 'x'})
	for _, options := range [][]grpc.CallOption{nil, {grpc.UseCompressor(gzip.Name)}} {
		err := conn.Invoke(t.Context(), "/grpc.health.v1.Health/Check", broken, &chatpb.ChatMessage{}, options...)
		if reason, _ := auth.ReasonOf(err); reason != auth.MessageInvalid {
			t.Errorf("got %v, want MESSAGE_INVALID", err)
		}
	}
	kept := 0
	s.codec.refused.Range(func(any, any) bool { kept++; return true })
	if kept != 0 {
		t.Errorf("%d requests are kept", kept)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.Shutdown(ctx)
	if err := <-served; err != nil {
		t.Error(err)
	}
}
