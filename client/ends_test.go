package client

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"securechat/auth"
	"securechat/auth/authtest"
	"securechat/certs"
	chatpb "securechat/proto/chat"
)

// A token that expires ends the stream with the reason, for good.
func TestReceiveExpired(t *testing.T) {
	realm := authtest.NewRealm(t)
	address := startServer(t, realm)
	stream, _ := inLife(t, 2*time.Second, func(ends time.Time) (*Stream, error) {
		return dial(t, realm.User("alice", until(ends)), address).Open(patient(t))
	})
	defer stream.Close()
	for range 2 { // the second time is no other
		_, err := stream.Receive(patient(t))
		var ended *Error
		if !errors.As(err, &ended) || ended.Reason != auth.TokenExpired || ended.Code != codes.Unauthenticated || ended.Retryable() {
			t.Fatalf("got %v, want TOKEN_EXPIRED", err)
		}
	}
	if err := stream.Send(patient(t), "x"); err == nil || !strings.Contains(err.Error(), "TOKEN_EXPIRED") {
		t.Errorf("Send: got %v, want how the stream ended", err)
	}
}

// A connection that is lost is worth another try.
func TestReceiveConnectionLost(t *testing.T) {
	realm := authtest.NewRealm(t)
	srv := grpc.NewServer(grpc.Creds(certs.ServerCredentials(realm.Server())))
	chatpb.RegisterChatServer(srv, oddChat{handler: silent})
	stream := open(t, dial(t, realm.User("alice"), realm.Serve(srv)))
	srv.Stop()
	_, err := stream.Receive(patient(t))
	var lost *Error
	if !errors.As(err, &lost) || lost.Code != codes.Unavailable || !lost.Retryable() || !strings.Contains(lost.Text, "connection was lost") {
		t.Fatalf("got %v, want a retryable UNAVAILABLE", err)
	}
}

func TestConnClose(t *testing.T) {
	realm := authtest.NewRealm(t)
	conn := dial(t, realm.User("alice"), startServer(t, realm))
	stream := open(t, conn)
	must(t, conn.Close())
	var ended *Error
	if _, err := stream.Receive(patient(t)); !errors.As(err, &ended) || ended.Retryable() {
		t.Errorf("Receive: got %v, want a final *Error", err)
	}
	if _, err := conn.Open(patient(t)); !errors.As(err, &ended) || ended.Retryable() {
		t.Errorf("Open: got %v, want a final *Error", err)
	}
}

func TestReceiveServerGone(t *testing.T) {
	realm := authtest.NewRealm(t)
	address := startOdd(t, realm, func(stream chatpb.Chat_ChatStreamServer) error {
		if err := stream.SendHeader(nil); err != nil {
			return err
		}
		_, _ = stream.Recv()
		return status.Error(codes.Unavailable, "going")
	})
	stream := open(t, dial(t, realm.User("alice"), address))
	must(t, stream.Send(patient(t), "x"))
	_, err := stream.Receive(patient(t))
	var lost *Error
	if !errors.As(err, &lost) || lost.Code != codes.Unavailable || !lost.Retryable() {
		t.Fatalf("got %v, want a retryable UNAVAILABLE", err)
	}
}

// Send learns that the stream is over, and leaves the reason to Receive.
func TestSendEnded(t *testing.T) {
	realm := authtest.NewRealm(t)
	address := startOdd(t, realm, func(stream chatpb.Chat_ChatStreamServer) error {
		if err := stream.Send(&chatpb.ChatMessage{Message: "last words"}); err != nil {
			return err
		}
		return status.Error(codes.PermissionDenied, "go away")
	})
	stream := open(t, dial(t, realm.User("alice"), address))
	ctx := patient(t)
	var err error
	for err == nil {
		err = stream.Send(ctx, "x")
	}
	if !errors.Is(err, ErrEnded) {
		t.Errorf("got %v, want ErrEnded", err)
	}
	if m, err := stream.Receive(ctx); err != nil || m.Text != "last words" {
		t.Errorf("got %+v, %v, want what came before the end", m, err)
	}
	if _, err := stream.Receive(ctx); status.Code(err) != codes.PermissionDenied {
		t.Errorf("got %v, want PERMISSION_DENIED", err)
	}
}

// silent admits and then neither reads nor writes.
func silent(stream chatpb.Chat_ChatStreamServer) error {
	if err := stream.SendHeader(nil); err != nil {
		return err
	}
	<-stream.Context().Done()
	return nil
}

// A context that ends under a blocked call ends the stream.
func TestCancelBlocked(t *testing.T) {
	realm := authtest.NewRealm(t)
	address := startOdd(t, realm, silent)
	cause := errors.New("enough")
	receiving := func(s *Stream) *sync.Mutex { return &s.sender.Load().reading }
	tests := []struct {
		name string
		call func(context.Context, *Stream) error
		held func(*Stream) *sync.Mutex // while the call is under way
	}{
		{"Send", func(ctx context.Context, s *Stream) error { return s.Send(ctx, "x") }, func(s *Stream) *sync.Mutex { return &s.turn }},
		{"Receive", func(ctx context.Context, s *Stream) error { _, err := s.Receive(ctx); return err }, receiving},
		{"Messages", func(ctx context.Context, s *Stream) (last error) {
			for _, err := range s.Messages(ctx) {
				last = err
			}
			return last
		}, receiving},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			stream := open(t, dial(t, realm.User("alice"), address))
			must(t, stream.Send(patient(t), strings.Repeat("x", 256<<10))) // more than flow control lets through: the next one is blocked
			ctx, cancel := context.WithCancelCause(context.Background())
			called := make(chan error, 1)
			go func() { called <- test.call(ctx, stream) }()
			wantHeld(t, test.held(stream))
			cancel(cause)
			if err := returned(t, called); !errors.Is(err, cause) {
				t.Errorf("got %v, want the context's cause", err)
			}
			if err := stream.Send(patient(t), "x"); err == nil {
				t.Error("the stream goes on")
			}
		})
	}
}

// returned waits until a blocked call returns.
func returned(t *testing.T, call <-chan error) error {
	t.Helper()
	select {
	case err := <-call:
		return err
	case <-patient(t).Done():
		t.Fatal("the call is blocked still")
		return nil
	}
}

// wantHeld waits until somebody holds the lock, for longer than a moment where the test
// is right.
func wantHeld(t *testing.T, mu *sync.Mutex) {
	t.Helper()
	eventually(t, "no call is under way", func() bool {
		free := mu.TryLock()
		if free {
			mu.Unlock()
		}
		return !free
	})
}

func TestClose(t *testing.T) {
	realm := authtest.NewRealm(t)
	stream := open(t, dial(t, realm.User("alice"), startOdd(t, realm, silent)))
	received := make(chan error)
	go func() {
		_, err := stream.Receive(context.Background())
		received <- err
	}()
	must(t, stream.Close())
	must(t, stream.Close())
	if err := <-received; err != ErrClosed {
		t.Errorf("Receive: got %v, want ErrClosed", err)
	}
	if err := stream.Send(patient(t), "x"); err != ErrClosed {
		t.Errorf("Send: got %v, want ErrClosed", err)
	}
}

// A stream is closed from the moment that Close returns, not when the transport
// has noticed.
func TestCloseAtOnce(t *testing.T) {
	realm := authtest.NewRealm(t)
	conn := dial(t, realm.User("alice"), startServer(t, realm))
	for range 50 {
		stream := open(t, conn)
		must(t, stream.Close())
		if err := stream.Send(patient(t), "x"); err != ErrClosed {
			t.Fatalf("Send: got %v, want ErrClosed", err)
		}
		if _, err := stream.Receive(patient(t)); err != ErrClosed {
			t.Fatalf("Receive: got %v, want ErrClosed", err)
		}
	}
}
