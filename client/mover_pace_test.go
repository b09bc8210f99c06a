package client

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	"securechat/auth/authtest"
)

// The closer the end, the more often; and where no attempt is left before it, the
// event says so. What has expired is not moved.
func TestMoverHurries(t *testing.T) {
	realm := authtest.NewRealm(t)
	first, second := realm.User("alice").Certificates, realm.User("alice").Certificates
	synctest.Test(t, func(t *testing.T) {
		f := newFerry(t, first)
		defer f.close()
		f.until = f.began.Add(20 * time.Second)
		f.answer = func() (bool, error) { return false, &Error{Code: codes.Unavailable} }
		f.certify(second)
		f.pass(time.Hour)
		if last := f.called[len(f.called)-1]; last < 19*time.Second || last > 20*time.Second {
			t.Errorf("tried last after %v of 20 s", last)
		}
		if last := f.events[len(f.events)-1].(MoveFailed); !last.Retry.IsZero() {
			t.Errorf("got %+v, want the last without Retry", last)
		}
		for i := 1; i < len(f.called); i++ {
			if wait := f.called[i] - f.called[i-1]; wait < betweenTokens {
				t.Errorf("tried again after %v", wait)
			}
		}
	})
}

// A server that asks to wait is not asked before.
func TestMoverRetryAfter(t *testing.T) {
	realm := authtest.NewRealm(t)
	first, second := realm.User("alice").Certificates, realm.User("alice").Certificates
	synctest.Test(t, func(t *testing.T) {
		f := newFerry(t, first)
		defer f.close()
		f.answer = func() (bool, error) { return false, &Error{Code: codes.ResourceExhausted, RetryAfter: 4 * time.Minute} }
		f.certify(second)
		f.pass(time.Hour)
		for i := 1; i < len(f.called); i++ {
			if wait := f.called[i] - f.called[i-1]; wait < 4*time.Minute {
				t.Errorf("asked again after %v", wait)
			}
		}
		if len(f.called) < 10 {
			t.Errorf("got calls at %v", f.called)
		}
	})
}

// Without riders there is no goroutine, and with the next one there is again; an
// attempt that is under way ends with the mover, and nobody is told.
func TestMoverEnds(t *testing.T) {
	realm := authtest.NewRealm(t)
	first, second := realm.User("alice").Certificates, realm.User("alice").Certificates
	synctest.Test(t, func(t *testing.T) {
		f := newFerry(t, first)
		for range 3 {
			f.remove(f)
			f.remove(f)
			synctest.Wait()
			f.mu.Lock()
			running := f.running
			f.mu.Unlock()
			if running {
				t.Fatal("it runs on")
			}
			f.add(f)
			synctest.Wait()
		}
		f.mover.source = TokenFunc(func(ctx context.Context) (string, error) {
			<-ctx.Done()
			return "", ctx.Err()
		})
		f.certify(second)
		f.close()
		f.remove(f)
		f.add(f)
		if len(f.events) > 0 || len(f.riders) > 0 {
			t.Errorf("got %+v, and %d riders after the end", f.events, len(f.riders))
		}
	})
}

// A source that blocks is not waited for beyond what is of use, and the streams
// move when it has come round.
func TestMoverAttemptBounded(t *testing.T) {
	realm := authtest.NewRealm(t)
	first, second := realm.User("alice").Certificates, realm.User("alice").Certificates
	synctest.Test(t, func(t *testing.T) {
		f := newFerry(t, first)
		defer f.close()
		awake := f.mover.source
		f.mover.source = TokenFunc(func(ctx context.Context) (string, error) {
			f.turn()
			if time.Since(f.began) > 2*longestAttempt {
				return awake.Token(ctx)
			}
			<-ctx.Done()
			return "", ctx.Err()
		})
		f.certify(second)
		f.pass(2 * time.Hour)
		failed, ok := f.events[0].(MoveFailed)
		if !ok || !errors.Is(failed.Err, context.DeadlineExceeded) || failed.Final {
			t.Errorf("got %+v", f.events[0])
		}
		if _, ok := f.events[len(f.events)-1].(Moved); !ok {
			t.Errorf("got %+v, want Moved in the end", f.events)
		}
	})
}
