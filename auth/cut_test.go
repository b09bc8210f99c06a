package auth_test

import (
	"context"
	"testing"

	"google.golang.org/grpc"

	"securechat/auth"
	"securechat/auth/authtest"
)

func TestCutNeedsASupervisedStream(t *testing.T) {
	if auth.Cut(context.Background(), auth.Refusef(auth.SlowConsumer, "behind")) {
		t.Error("a context of no stream was cut")
	}
}

// A handler ends its stream from any of its goroutines, whatever the others are
// stuck in.
func TestCutFromInside(t *testing.T) {
	realm := authtest.NewRealm(t)
	alice := realm.User("alice")
	guard, _ := newFake(t, realm)
	stream := &fakeStream{
		ctx:      onConnection(auth.NewContext(t.Context(), identityOf(alice)), chainsOf(realm, alice)),
		messages: make(chan struct{}), sending: make(chan struct{}),
	}
	sent, received := make(chan error, 1), make(chan error, 1)
	err := supervised(guard, stream, func(_ any, stream grpc.ServerStream) error {
		go func() { sent <- stream.SendMsg("stuck") }()
		go func() {
			auth.Cut(stream.Context(), auth.Refusef(auth.SlowConsumer, "behind"))
			if auth.Cut(stream.Context(), auth.Refusef(auth.Internal, "again")) {
				t.Error("the stream was cut twice")
			}
		}()
		err := stream.RecvMsg(nil)
		received <- err
		return err
	})
	if reasonOf(err) != auth.SlowConsumer {
		t.Errorf("the stream ended with %v, want SLOW_CONSUMER", err)
	}
	close(stream.sending)
	close(stream.messages)
	for what, ended := range map[string]chan error{"SendMsg": sent, "RecvMsg": received} {
		if err := <-ended; reasonOf(err) != auth.SlowConsumer {
			t.Errorf("%s returned %v, want SLOW_CONSUMER", what, err)
		}
	}
	guard.Wait()
}
