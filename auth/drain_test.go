package auth_test

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"securechat/auth"
	"securechat/auth/authtest"
	chatpb "securechat/proto/chat"
)

func wantDraining(t *testing.T, err error) {
	t.Helper()
	wantRefusal(t, err, codes.Unavailable, auth.Draining)
	for _, detail := range status.Convert(err).Details() {
		if retry, ok := detail.(*errdetails.RetryInfo); ok && retry.RetryDelay.AsDuration() > 0 {
			return
		}
	}
	t.Error("it has no RetryInfo")
}

// Over real connections: what has been received is acknowledged, streams that
// wait end, one that is stuck ends with the time, and new ones are refused.
func TestDrain(t *testing.T) {
	entered, proceed := make(chan struct{}), make(chan struct{})
	w := newWorld(t, func(stream chatpb.Chat_ChatStreamServer) error {
		for {
			m, err := stream.Recv()
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return errors.New("whatever it makes of it: " + err.Error())
			}
			if m.Message == "slow" {
				close(entered)
				<-proceed
			}
			if m.Message == "stuck" {
				<-stream.Context().Done()
			}
			if err := stream.Send(m); err != nil {
				return err
			}
		}
	})
	conn := w.realm.User("alice").Dial(w.address)
	waits, works, stuck := open(t, conn), open(t, conn), open(t, conn)
	for stream, text := range map[chatpb.Chat_ChatStreamClient]string{works: "slow", stuck: "stuck"} {
		if err := stream.Send(&chatpb.ChatMessage{Message: text}); err != nil {
			t.Fatal(err)
		}
	}
	<-entered
	ctx, cancel := context.WithCancel(t.Context())
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		w.guard.Drain(ctx, 50*time.Millisecond)
	}()
	_, err := waits.Recv()
	wantDraining(t, err)
	late, err := chatpb.NewChatClient(conn).ChatStream(patience(t))
	if err == nil {
		_, err = late.Recv()
	}
	wantDraining(t, err)
	close(proceed)
	if m, err := works.Recv(); err != nil || m.Message != "slow" {
		t.Errorf("what had been received was answered with %v, %v", m, err)
	}
	_, err = works.Recv()
	wantDraining(t, err)
	cancel()
	<-drained
	_, err = stuck.Recv()
	wantDraining(t, err)
}

// The ends are spread over the time given, or less where there are few.
func TestDrainIsSpread(t *testing.T) {
	for name, test := range map[string]struct {
		streams     int
		over, takes time.Duration
	}{
		"many": {100, time.Second, 990 * time.Millisecond},
		"few":  {5, time.Hour, 400 * time.Millisecond},
		"one":  {1, time.Hour, 0},
		"none": {0, time.Hour, 0},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, realm *authtest.Realm, alice *authtest.User) {
				guard, _ := newFake(t, realm)
				done := make(chan struct{})
				ends := make(chan time.Time, test.streams)
				for range test.streams {
					fake := &fakeStream{ctx: auth.NewContext(onConnection(t.Context(), chainsOf(realm, alice)), identityOf(alice)), messages: done}
					go func() {
						err := supervised(guard, fake, func(_ any, stream grpc.ServerStream) error { return stream.RecvMsg(nil) })
						if reasonOf(err) != auth.Draining {
							t.Errorf("ended with %v, want DRAINING", err)
						}
						ends <- time.Now()
					}()
				}
				synctest.Wait()
				began := time.Now()
				guard.Drain(t.Context(), test.over)
				if took := time.Since(began); took != test.takes {
					t.Errorf("it took %v, want %v", took, test.takes)
				}
				at := make(map[time.Time]int)
				for range test.streams {
					at[<-ends]++
				}
				for when, n := range at {
					if n > 1 {
						t.Errorf("%d streams ended at once, %v after the beginning", n, when.Sub(began))
					}
				}
				close(done)
				guard.Wait()
			})
		})
	}
}

// Whatever a handler does when the drain comes to it, it loses no message that it
// has received and answers.
func TestDrainWaitsForWhatIsOwed(t *testing.T) {
	begin := func(t *testing.T, realm *authtest.Realm, alice *authtest.User, handler grpc.StreamHandler, replies bool) (*auth.Guard, *fakeStream, chan error) {
		guard, _ := newFake(t, realm)
		fake := &fakeStream{ctx: auth.NewContext(onConnection(t.Context(), chainsOf(realm, alice)), identityOf(alice)), messages: make(chan struct{})}
		ended := make(chan error, 1)
		go func() {
			info := &grpc.StreamServerInfo{FullMethod: chatStream, IsClientStream: !replies, IsServerStream: true}
			ended <- guard.Supervise().Stream(nil, fake, info, handler)
		}()
		return guard, fake, ended
	}
	drain := func(guard *auth.Guard, ctx context.Context) chan struct{} {
		drained := make(chan struct{})
		go func() { defer close(drained); guard.Drain(ctx, 0) }()
		synctest.Wait()
		return drained
	}
	t.Run("answers on another goroutine", func(t *testing.T) {
		bubble(t, func(t *testing.T, realm *authtest.Realm, alice *authtest.User) {
			answer := make(chan struct{})
			var sent atomic.Value
			guard, fake, ended := begin(t, realm, alice, func(_ any, stream grpc.ServerStream) error {
				answered := make(chan struct{})
				defer func() { <-answered }()
				if err := stream.RecvMsg(nil); err != nil {
					return err
				}
				release := auth.Hold(stream.Context())
				go func() {
					defer close(answered)
					<-answer
					sent.Store(stream.SendMsg(nil) == nil)
					release()
					release()
				}()
				return stream.RecvMsg(nil)
			}, false)
			fake.messages <- struct{}{}
			synctest.Wait()
			drained := drain(guard, t.Context())
			select {
			case err := <-ended:
				t.Errorf("it ended with %v while it owed an answer", err)
			default:
			}
			close(answer)
			if err := <-ended; reasonOf(err) != auth.Draining || sent.Load() != true {
				t.Errorf("it ended with %v, answered %v; want DRAINING after the answer", err, sent.Load())
			}
			<-drained
			close(fake.messages)
			guard.Wait()
		})
	})
	t.Run("asks for more", func(t *testing.T) {
		bubble(t, func(t *testing.T, realm *authtest.Realm, alice *authtest.User) {
			proceed := make(chan struct{})
			guard, fake, ended := begin(t, realm, alice, func(_ any, stream grpc.ServerStream) error {
				<-proceed
				if err := stream.RecvMsg(nil); reasonOf(err) != auth.Draining {
					t.Errorf("a message was received after the turn: %v", err)
				}
				if err := stream.SendMsg(nil); err != nil {
					t.Errorf("what it still had was not sent: %v", err)
				}
				return nil
			}, false)
			synctest.Wait()
			drained := drain(guard, t.Context())
			close(proceed)
			if err := <-ended; reasonOf(err) != auth.Draining {
				t.Errorf("it ended with %v, want DRAINING: it was told to leave", err)
			}
			if n := fake.received.Load(); n != 0 {
				t.Errorf("the transport was asked for %d messages", n)
			}
			<-drained
			guard.Wait()
		})
	})
	t.Run("finishes by itself", func(t *testing.T) {
		bubble(t, func(t *testing.T, realm *authtest.Realm, alice *authtest.User) {
			release := make(chan struct{})
			guard, _, ended := begin(t, realm, alice, func(_ any, stream grpc.ServerStream) error {
				<-release
				return stream.SendMsg(nil)
			}, false)
			synctest.Wait()
			drained := drain(guard, t.Context())
			close(release)
			if err := <-ended; err != nil {
				t.Errorf("it ended with %v, want OK: it was not told to leave", err)
			}
			<-drained
			guard.Wait()
		})
	})
	t.Run("never comes back", func(t *testing.T) {
		bubble(t, func(t *testing.T, realm *authtest.Realm, alice *authtest.User) {
			release := make(chan struct{})
			guard, _, ended := begin(t, realm, alice, func(any, grpc.ServerStream) error { <-release; return nil }, false)
			synctest.Wait()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			began := time.Now()
			<-drain(guard, ctx)
			if took := time.Since(began); took != time.Minute {
				t.Errorf("Drain took %v, want what ctx gave", took)
			}
			if err := <-ended; reasonOf(err) != auth.Draining {
				t.Errorf("it ended with %v, want DRAINING", err)
			}
			close(release)
			guard.Wait()
		})
	})
	t.Run("its authority ends first", func(t *testing.T) {
		bubble(t, func(t *testing.T, realm *authtest.Realm, alice *authtest.User) {
			release := make(chan struct{})
			guard, _, ended := begin(t, realm, alice, func(any, grpc.ServerStream) error { <-release; return nil }, false)
			synctest.Wait()
			drained := drain(guard, t.Context())
			if err := <-ended; reasonOf(err) != auth.TokenExpired {
				t.Errorf("it ended with %v, want TOKEN_EXPIRED: it is no use to come back", err)
			}
			<-drained
			close(release)
			guard.Wait()
		})
	})
	t.Run("its client only listens", func(t *testing.T) {
		bubble(t, func(t *testing.T, realm *authtest.Realm, alice *authtest.User) {
			release := make(chan struct{})
			guard, _, ended := begin(t, realm, alice, func(any, grpc.ServerStream) error { <-release; return nil }, true)
			synctest.Wait()
			began := time.Now()
			<-drain(guard, t.Context())
			if took := time.Since(began); took != 0 {
				t.Errorf("it ended %v after its turn, want at once", took)
			}
			if err := <-ended; reasonOf(err) != auth.Draining {
				t.Errorf("it ended with %v, want DRAINING", err)
			}
			close(release)
			guard.Wait()
		})
	})
}
