package auth_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"securechat/auth"
	"securechat/auth/authtest"
	"securechat/certs"
	chatpb "securechat/proto/chat"
)

// What an authority rests on is looked at once more when the stream begins: it
// may have changed since it was authenticated.
func TestStreamsDoNotBeginOnAnEndedAuthority(t *testing.T) {
	realm := authtest.NewRealm(t)
	alice := realm.User("alice")
	for name, test := range map[string]struct {
		reason auth.Reason
		spoil  func(*auth.Identity, *swapped, *auth.Guard)
	}{
		"expired":       {auth.TokenExpired, func(id *auth.Identity, _ *swapped, _ *auth.Guard) { id.Expires = time.Now() }},
		"revoked":       {auth.TokenRevoked, func(_ *auth.Identity, s *swapped, _ *auth.Guard) { s.revoke(t, revocations(t, "subject alice")) }},
		"policy":        {auth.MethodDenied, func(_ *auth.Identity, _ *swapped, g *auth.Guard) { g.SetPolicy(nil) }},
		"needs a token": {auth.TokenMissing, func(id *auth.Identity, _ *swapped, _ *auth.Guard) { id.Issuer = "" }},
		"its check panics": {auth.Internal, func(_ *auth.Identity, _ *swapped, g *auth.Guard) {
			g.SetPolicy(auth.Policy{chatStream: auth.Rule{}.And(func(context.Context, auth.Identity) error { panic("boom") })})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			guard, source := newFake(t, realm)
			id := identityOf(alice)
			test.spoil(&id, source, guard)
			stream := &fakeStream{ctx: auth.NewContext(onConnection(t.Context(), chainsOf(realm, alice)), id)}
			reached := false
			err := supervised(guard, stream, func(any, grpc.ServerStream) error { reached = true; return nil })
			guard.Wait()
			if reached || reasonOf(err) != test.reason {
				t.Errorf("handler reached %v, error %v, want %s", reached, err, test.reason)
			}
		})
	}
}

// Whatever a handler does when its authority ends, the stream ends then, and what
// the handler does afterwards reaches neither the transport nor the handler.
func TestNothingPassesAfterTheCut(t *testing.T) {
	for name, busy := range map[string]func(*fakeStream, grpc.ServerStream){
		"it waits for a message":  func(_ *fakeStream, s grpc.ServerStream) { _ = s.RecvMsg(nil) },
		"a message is being sent": func(_ *fakeStream, s grpc.ServerStream) { _ = s.SendMsg(nil) },
		"it does something else":  func(f *fakeStream, _ grpc.ServerStream) { <-f.sending },
		"it sends whatever it is told": func(f *fakeStream, s grpc.ServerStream) {
			for s.SendMsg(nil) == nil {
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, realm *authtest.Realm, alice *authtest.User) {
				guard, _ := newFake(t, realm)
				id := identityOf(alice)
				id.Expires = time.Now().Add(10*time.Second + 30*time.Millisecond)
				fake := &fakeStream{ctx: auth.NewContext(onConnection(t.Context(), chainsOf(realm, alice)), id), messages: make(chan struct{}), sending: make(chan struct{})}
				release, left := make(chan struct{}), make(chan struct{})
				var after []error
				began := time.Now()
				err := supervised(guard, fake, func(_ any, stream grpc.ServerStream) error {
					defer close(left)
					busy(fake, stream)
					<-release
					received, sent := fake.received.Load(), fake.sent.Load()
					after = []error{stream.SendMsg(nil), stream.RecvMsg(nil), stream.SendHeader(nil)}
					if fake.received.Load() != received || fake.sent.Load() != sent {
						t.Error("the transport was used after the cut")
					}
					return nil
				})
				if late := time.Since(began) - (10*time.Second + 30*time.Millisecond); late < 0 || late > 100*time.Millisecond {
					t.Errorf("it ended %v after its expiry, want 100 ms at most", late)
				}
				if reasonOf(err) != auth.TokenExpired {
					t.Fatalf("it ended with %v, want TOKEN_EXPIRED", err)
				}
				close(release)
				close(fake.sending)
				close(fake.messages)
				<-left
				for _, err := range after {
					if reasonOf(err) != auth.TokenExpired {
						t.Errorf("after the cut the handler got %v, want TOKEN_EXPIRED", err)
					}
				}
				guard.Wait()
			})
		})
	}
}

// A message that the transport hands over when the stream has been cut does not
// reach the handler, and one whose sending ends then is not known to be sent.
func TestMessagesThatMeetTheCut(t *testing.T) {
	for name, use := range map[string]func(grpc.ServerStream) error{
		"received": func(s grpc.ServerStream) error { return s.RecvMsg(nil) },
		"sent":     func(s grpc.ServerStream) error { return s.SendMsg(nil) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, realm *authtest.Realm, alice *authtest.User) {
				guard, _ := newFake(t, realm)
				fake := &fakeStream{ctx: auth.NewContext(onConnection(t.Context(), chainsOf(realm, alice)), identityOf(alice)), messages: make(chan struct{}), sending: make(chan struct{})}
				got := make(chan error, 1)
				ended := make(chan error, 1)
				go func() {
					ended <- supervised(guard, fake, func(_ any, stream grpc.ServerStream) error {
						got <- use(stream)
						return nil
					})
				}()
				synctest.Wait()
				if !guard.End(guard.Sessions()[0].ID) {
					t.Fatal("there was no session to end")
				}
				if err := <-ended; reasonOf(err) != auth.Expelled {
					t.Errorf("the stream ended with %v, want EXPELLED", err)
				}
				select {
				case fake.messages <- struct{}{}:
				case fake.sending <- struct{}{}:
				}
				if err := <-got; reasonOf(err) != auth.Expelled {
					t.Errorf("the handler got %v, want EXPELLED", err)
				}
				guard.Wait()
			})
		})
	}
}

// However a handler ends, its stream does; a panic reaches the goroutine of the
// interceptors, where recovery is.
func TestHandlersThatEndOtherwise(t *testing.T) {
	realm := authtest.NewRealm(t)
	alice := realm.User("alice")
	begin := func(t *testing.T, handler grpc.StreamHandler) (err error) {
		guard, _ := newFake(t, realm)
		defer guard.Wait()
		defer func() {
			if panicked, ok := recover().(*auth.HandlerPanic); ok {
				err = panicked
			}
		}()
		return supervised(guard, &fakeStream{ctx: auth.NewContext(onConnection(t.Context(), chainsOf(realm, alice)), identityOf(alice))}, handler)
	}
	t.Run("runtime.Goexit", func(t *testing.T) {
		err := begin(t, func(any, grpc.ServerStream) error { runtime.Goexit(); return nil })
		if reasonOf(err) != auth.Internal {
			t.Errorf("got %v, want INTERNAL", err)
		}
	})
	t.Run("panic", func(t *testing.T) {
		var panicked *auth.HandlerPanic
		if err := begin(t, func(any, grpc.ServerStream) error { panic("boom") }); !errors.As(err, &panicked) || panicked.Value != "boom" || len(panicked.Stack) == 0 {
			t.Errorf("recovered %v, want the handler's panic with its stack", panicked)
		}
	})
	t.Run("with an error of its own", func(t *testing.T) {
		want := status.Error(codes.Aborted, "its own")
		if err := begin(t, func(any, grpc.ServerStream) error { return want }); err != want {
			t.Errorf("got %v, want the handler's", err)
		}
	})
}

// A panic that nobody waits for is logged, once.
func TestPanicAfterTheCutIsLogged(t *testing.T) {
	bubble(t, func(t *testing.T, realm *authtest.Realm, alice *authtest.User) {
		var log bytes.Buffer
		guard, _ := newFake(t, realm, func(c *auth.Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
		id := identityOf(alice)
		id.Expires = time.Now().Add(time.Second)
		release := make(chan struct{})
		err := supervised(guard, &fakeStream{ctx: auth.NewContext(onConnection(t.Context(), chainsOf(realm, alice)), id)}, func(any, grpc.ServerStream) error {
			<-release
			panic("boom")
		})
		if reasonOf(err) != auth.TokenExpired {
			t.Errorf("got %v, want TOKEN_EXPIRED", err)
		}
		close(release)
		guard.Wait()
		if n := strings.Count(log.String(), "boom"); n == 0 || strings.Count(log.String(), "\n") != 1 {
			t.Errorf("logged %q, want the panic once", log.String())
		}
	})
}

// A unary call that is overtaken by its expiry is refused with that, whether its
// handler heeds its context or not, and another end of its context is its own.
func TestUnaryCallsPastTheirAuthority(t *testing.T) {
	call := func(t *testing.T, realm *authtest.Realm, alice *authtest.User, life time.Duration, handler grpc.UnaryHandler) error {
		guard, _ := newFake(t, realm)
		id := identityOf(alice)
		id.Expires = time.Now().Add(life)
		_, err := guard.Supervise().Unary(auth.NewContext(t.Context(), id), nil, &grpc.UnaryServerInfo{FullMethod: chatStream}, handler)
		return err
	}
	for name, test := range map[string]struct {
		life    time.Duration
		handler grpc.UnaryHandler
		want    auth.Reason
	}{
		"expired before": {-time.Second, func(context.Context, any) (any, error) { return "late", nil }, auth.TokenExpired},
		"heeds its context": {time.Second, func(ctx context.Context, _ any) (any, error) {
			<-ctx.Done()
			return nil, status.FromContextError(ctx.Err()).Err()
		}, auth.TokenExpired},
		"heeds nothing":   {time.Second, func(context.Context, any) (any, error) { <-time.After(time.Minute); return "late", nil }, auth.TokenExpired},
		"fails by itself": {time.Second, func(context.Context, any) (any, error) { return nil, auth.Refusef(auth.RoomDenied, "x") }, auth.RoomDenied},
		"in time":         {time.Second, func(context.Context, any) (any, error) { return "answer", nil }, ""},
		"deadline of its own": {time.Minute, func(ctx context.Context, _ any) (any, error) {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			<-ctx.Done()
			return nil, ctx.Err()
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, realm *authtest.Realm, alice *authtest.User) {
				if err := call(t, realm, alice, test.life, test.handler); reasonOf(err) != test.want {
					t.Errorf("got %v, want %q", err, test.want)
				}
			})
		})
	}
}

// A stream without a token, such as a health probe's, ends with its certificate,
// and when the policy asks for a token.
func TestStreamsOfCertificatesAlone(t *testing.T) {
	for name, test := range map[string]struct {
		reason  auth.Reason
		happens func(*testing.T, *swapped, *auth.Guard, *authtest.User)
	}{
		"certificate revoked": {auth.CertificateRevoked, func(t *testing.T, s *swapped, _ *auth.Guard, alice *authtest.User) {
			s.revoke(t, revocations(t, fmt.Sprintf("certificate %x", certs.Thumbprint(alice.Leaf()))))
		}},
		"not listed any more": {auth.MethodDenied, func(_ *testing.T, _ *swapped, g *auth.Guard, _ *authtest.User) { g.SetPolicy(nil) }},
		"a token is wanted": {auth.TokenMissing, func(_ *testing.T, _ *swapped, g *auth.Guard, _ *authtest.User) {
			g.SetPolicy(auth.Policy{chatStream: auth.Rule{}})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, realm *authtest.Realm, alice *authtest.User) {
				guard, source := newFake(t, realm, func(c *auth.Config) { c.Policy = auth.Policy{chatStream: auth.CertificateOnly()} })
				id := auth.Identity{User: "alice", Expires: time.Now().Add(time.Hour), ExpiresBy: auth.CertificateExpired}
				fake := &fakeStream{ctx: auth.NewContext(onConnection(t.Context(), chainsOf(realm, alice)), id), messages: make(chan struct{})}
				ended := make(chan error, 1)
				go func() {
					ended <- supervised(guard, fake, func(_ any, stream grpc.ServerStream) error { return stream.RecvMsg(nil) })
				}()
				pass(time.Second)
				source.revoke(t, revocations(t, "subject alice")) // tokens only
				pass(time.Second)
				if len(guard.Sessions()) != 1 {
					t.Fatal("a stream without a token ended with the tokens of its user")
				}
				test.happens(t, source, guard, alice)
				if err := <-ended; reasonOf(err) != test.reason {
					t.Errorf("got %v, want %s", err, test.reason)
				}
				close(fake.messages)
				guard.Wait()
			})
		})
	}
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
		err := step.Stream(nil, &fakeStream{ctx: t.Context()}, &grpc.StreamServerInfo{FullMethod: chatStream}, func(any, grpc.ServerStream) error {
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

// A method that would pass no interceptor is not registered.
func TestRegistrarRefusesWhatPassesNoInterceptor(t *testing.T) {
	desc := grpc.ServiceDesc{ServiceName: "notes.Notes", HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{
		{StreamName: "Watch", Handler: func(any, grpc.ServerStream) error { return io.EOF }},
	}}
	defer func() {
		if said := fmt.Sprint(recover()); !strings.Contains(said, "/notes.Notes/Watch") {
			t.Errorf("it said %q, want a panic that names the method", said)
		}
	}()
	auth.Registrar(grpc.NewServer()).RegisterService(&desc, struct{}{})
}
