package auth_test

import (
	"context"
	"io"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"securechat/auth"
	"securechat/auth/authtest"
	"securechat/certs"
	chatpb "securechat/proto/chat"
)

// swapped is a source whose material a test replaces.
type swapped struct {
	current atomic.Pointer[certs.Material]
}

func (s *swapped) set(m *certs.Material)     { s.current.Store(m) }
func (s *swapped) Material() *certs.Material { return s.current.Load() }

// clock is a clock that a test sets.
type clock struct{ at atomic.Pointer[time.Time] }

func (c *clock) set(at time.Time) { c.at.Store(&at) }
func (c *clock) now() time.Time   { return *c.at.Load() }

// handlerFunc is a chat service of one function.
type handlerFunc struct {
	chatpb.UnimplementedChatServer
	handle func(chatpb.Chat_ChatStreamServer) error
}

func (h handlerFunc) ChatStream(stream chatpb.Chat_ChatStreamServer) error { return h.handle(stream) }

// serveHandler puts a guard in front of handle. It returns the guard too, to
// wait for handlers that were cut.
func serveHandler(t *testing.T, realm *authtest.Realm, config auth.Config, handle func(chatpb.Chat_ChatStreamServer) error) string {
	t.Helper()
	config.Certificates, config.Tokens = realm.Server(), realm.Verifier()
	config.Policy = auth.Policy{chatStream: auth.Rule{}}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	guard, err := auth.New(config)
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer(append(guard.ServerOptions(), grpc.Creds(certs.ServerCredentials(realm.Server())))...)
	chatpb.RegisterChatServer(srv, handlerFunc{handle: handle})
	t.Cleanup(guard.Wait)
	return realm.Serve(srv)
}

// shortly is a guard's clock by which a token of an hour has 300 ms left.
func shortly() func() time.Time {
	ahead := time.Hour - 300*time.Millisecond
	return func() time.Time { return time.Now().Add(ahead) }
}

// An expired authority ends the stream whatever its handler is doing, and what
// the handler does afterwards goes nowhere.
func TestExpiryEndsTheStream(t *testing.T) {
	for name, handle := range map[string]func(chatpb.Chat_ChatStreamServer, chan<- error) error{
		"while it waits for a message": func(stream chatpb.Chat_ChatStreamServer, after chan<- error) error {
			_, err := stream.Recv()
			after <- err
			return err
		},
		"while it listens to nobody": func(stream chatpb.Chat_ChatStreamServer, after chan<- error) error {
			<-stream.Context().Done()
			after <- stream.Send(&chatpb.ChatMessage{Message: "late"})
			return nil
		},
		"while the client does not read": func(stream chatpb.Chat_ChatStreamServer, after chan<- error) error {
			for {
				if err := stream.Send(&chatpb.ChatMessage{Message: string(make([]byte, 64<<10))}); err != nil {
					after <- err
					return err
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			realm := authtest.NewRealm(t)
			after := make(chan error, 1)
			address := serveHandler(t, realm, auth.Config{Now: shortly()}, func(stream chatpb.Chat_ChatStreamServer) error {
				return handle(stream, after)
			})
			stream, err := chatpb.NewChatClient(realm.User("alice").Dial(address)).ChatStream(patience(t))
			if err != nil {
				t.Fatal(err)
			}
			if err := <-after; err == nil {
				t.Error("the handler could go on after the cut")
			}
			for err == nil {
				var m *chatpb.ChatMessage
				if m, err = stream.Recv(); err == nil && m.Message == "late" {
					t.Fatal("what the handler sent after the cut arrived")
				}
			}
			wantRefusal(t, err, codes.Unauthenticated, auth.TokenExpired)
		})
	}
}

// The certificate's end counts as the token's does, and says so.
func TestTheEarlierExpiryCounts(t *testing.T) {
	realm := authtest.NewRealm(t)
	alice := realm.User("alice")
	issued, err := realm.CA.IssueUser("alice", certs.IssueOptions{Lifetime: 30 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if alice.Certificates, err = issued.Material(realm.CA.Certificate()); err != nil {
		t.Fatal(err)
	}
	alice.Token = alice.Mint()
	ahead := time.Until(issued.Certificate().NotAfter) - 300*time.Millisecond
	config := auth.Config{Now: func() time.Time { return time.Now().Add(ahead) }}
	address := serveHandler(t, realm, config, func(stream chatpb.Chat_ChatStreamServer) error {
		_, err := stream.Recv()
		return err
	})
	stream, err := chatpb.NewChatClient(alice.Dial(address)).ChatStream(patience(t))
	if err != nil {
		t.Fatal(err)
	}
	_, err = stream.Recv()
	wantRefusal(t, err, codes.Unauthenticated, auth.CertificateExpired)
}

// A handler that ignores the end of its stream reaches the transport no more,
// and is waited for.
func TestHandlersThatOutliveTheirStream(t *testing.T) {
	realm := authtest.NewRealm(t)
	id := auth.Identity{User: "alice", Expires: time.Now(), ExpiresBy: auth.TokenExpired}
	guard, err := auth.New(auth.Config{Certificates: realm.Server(), Tokens: realm.Verifier()})
	if err != nil {
		t.Fatal(err)
	}
	release := make(chan struct{})
	var left atomic.Bool
	stream := &idleStream{ctx: auth.NewContext(t.Context(), id)}
	err = guard.Supervise().Stream(nil, stream, &grpc.StreamServerInfo{}, func(_ any, stream grpc.ServerStream) error {
		<-release
		for name, err := range map[string]error{"SendMsg": stream.SendMsg(nil), "RecvMsg": stream.RecvMsg(nil)} {
			if reasonOf(err) != auth.TokenExpired {
				t.Errorf("%s after the cut: %v, want TOKEN_EXPIRED", name, err)
			}
		}
		left.Store(true)
		return nil
	})
	if reason, _ := auth.ReasonOf(err); reason != auth.TokenExpired {
		t.Fatalf("got %v, want TOKEN_EXPIRED", err)
	}
	close(release)
	guard.Wait()
	if !left.Load() {
		t.Error("Wait returned before the handler did")
	}
	if n := stream.used.Load(); n != 0 {
		t.Errorf("the transport was used %d times after the cut", n)
	}
}

// A panic reaches the goroutine of the interceptors, where recovery is.
func TestPanicIsPassedOn(t *testing.T) {
	realm := authtest.NewRealm(t)
	guard, err := auth.New(auth.Config{Certificates: realm.Server(), Tokens: realm.Verifier()})
	if err != nil {
		t.Fatal(err)
	}
	defer guard.Wait()
	defer func() {
		panicked, ok := recover().(*auth.HandlerPanic)
		if !ok || panicked.Value != "boom" || len(panicked.Stack) == 0 {
			t.Errorf("recovered %v, want the handler's panic with its stack", panicked)
		}
	}()
	id := auth.Identity{User: "alice", Expires: time.Now().Add(time.Hour)}
	stream := &idleStream{ctx: auth.NewContext(t.Context(), id)}
	err = guard.Supervise().Stream(nil, stream, &grpc.StreamServerInfo{}, func(any, grpc.ServerStream) error { panic("boom") })
	t.Errorf("returned %v, want a panic", err)
}

// Steps that need an identity refuse to work without one.
func TestStepsFailClosedWithoutIdentity(t *testing.T) {
	realm := authtest.NewRealm(t)
	guard, err := auth.New(auth.Config{Certificates: realm.Server(), Tokens: realm.Verifier(), Policy: policy()})
	if err != nil {
		t.Fatal(err)
	}
	stamp := auth.Stamp(func(*chatpb.ChatMessage, auth.Identity) {})
	for name, step := range map[string]auth.Interceptor{"authorise": guard.Authorise(), "supervise": guard.Supervise(), "stamp": stamp} {
		reached := false
		err := step.Stream(nil, &idleStream{ctx: t.Context()}, &grpc.StreamServerInfo{FullMethod: chatStream}, func(any, grpc.ServerStream) error {
			reached = true
			return nil
		})
		if reached || auth.Reason("INTERNAL") != reasonOf(err) {
			t.Errorf("%s, stream: handler reached %v, error %v", name, reached, err)
		}
		_, err = step.Unary(t.Context(), nil, &grpc.UnaryServerInfo{FullMethod: chatStream}, func(context.Context, any) (any, error) {
			reached = true
			return nil, nil
		})
		if reached || auth.Reason("INTERNAL") != reasonOf(err) {
			t.Errorf("%s, unary: handler reached %v, error %v", name, reached, err)
		}
	}
}

func reasonOf(err error) auth.Reason {
	reason, _ := auth.ReasonOf(err)
	return reason
}

// idleStream is a stream on which nothing happens.
type idleStream struct {
	grpc.ServerStream
	ctx  context.Context
	used atomic.Int64 // how often the transport was asked for something
}

func (s *idleStream) Context() context.Context { return s.ctx }

func (s *idleStream) RecvMsg(any) error {
	s.used.Add(1)
	return io.EOF
}

func (s *idleStream) SendMsg(any) error {
	s.used.Add(1)
	return nil
}
