package client

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	"securechat/auth"
)

const here = "127.0.0.1:1" // the connection that the desk's leases are on

// tokenUntil is a token that looks like one and says when it expires.
func tokenUntil(expires time.Time) string {
	return "e30." + base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"exp":%d}`, expires.Unix())) + ".c2ln"
}

// A desk is a keeper with a server and a token source that a test decides about.
// It is for use in a bubble.
type desk struct {
	*keeper
	line  *line
	began time.Time

	token  func() (string, error)
	answer func(token string) (renewal, error)
	order  sync.Mutex // puts what a test does before what the keeper does while time passes

	asked  []time.Duration // when the token source was asked, since the beginning
	called []time.Duration // and the server
	events []Event
}

// newDesk's server takes every token, and its source gives one of an hour.
func newDesk() *desk {
	d := &desk{line: &line{}, began: time.Now()}
	d.token = func() (string, error) { return tokenUntil(time.Now().Add(time.Hour)), nil }
	d.answer = taking
	source := TokenFunc(func(context.Context) (string, error) {
		d.turn()
		d.asked = append(d.asked, time.Since(d.began))
		return d.token()
	})
	renew := func(_ context.Context, _ *line, token string) (renewal, error) {
		d.called = append(d.called, time.Since(d.began))
		return d.answer(token)
	}
	d.keeper = newKeeper(source, renew, func(e Event) { d.events = append(d.events, e) })
	return d
}

// set has the source give a token, and the server take any.
func (d *desk) set(token string) {
	d.token = func() (string, error) { return token, nil }
	d.answer = taking
}

// taking is a server that takes every token.
func taking(token string) (renewal, error) {
	expires, _ := expiryOf(token)
	return renewal{expires: expires, streams: 1, connection: here}, nil
}

// live adds the lease of a stream that is admitted for so long.
func (d *desk) live(life time.Duration) *lease {
	l := newLease(d.line, here, time.Now().Add(life))
	d.add(l)
	return l
}

func (d *desk) turn() {
	d.order.Lock()
	defer d.order.Unlock()
}

// pass lets time pass while the keeper has its way.
func (d *desk) pass(time time.Duration) {
	d.turn()
	pass(time)
}

// pass lets time pass, and waits until all that it makes happen has happened.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// close is the end of a test, as Conn.Close has it.
func (d *desk) close() { d.stop(); d.wait() }

func (d *desk) failures() (failed []RefreshFailed) {
	for _, e := range d.events {
		if f, ok := e.(RefreshFailed); ok {
			failed = append(failed, f)
		}
	}
	return failed
}

func (d *desk) wantRefreshed(t *testing.T, l *lease, until time.Time) {
	t.Helper()
	if len(d.events) == 0 {
		t.Fatal("no event")
	}
	got, ok := d.events[len(d.events)-1].(Refreshed)
	if !ok || !got.Expires.Equal(until) || !l.until().Equal(until) {
		t.Fatalf("got %+v, and a lease until %v, want both refreshed until %v", d.events[len(d.events)-1], l.until(), until)
	}
}

// A refusal that is final is met once; any other again and again, with pauses,
// until the streams expire.
func TestKeeperRefused(t *testing.T) {
	with := func(r auth.Reason) error { return &Error{Code: r.Code(), Reason: r} }
	tests := []struct {
		name  string
		err   error
		final bool
	}{
		{"revoked", with(auth.TokenRevoked), true},
		{"another certificate's", with(auth.TokenBinding), true},
		{"the certificate is revoked", with(auth.CertificateRevoked), true},
		{"the certificate has expired", with(auth.CertificateExpired), true},
		{"the policy does not list it", with(auth.MethodDenied), true},
		{"the server has no such service", &Error{Code: codes.Unimplemented}, true},

		{"no keys just now", with(auth.KeysUnavailable), false},
		{"no connection", &Error{Code: codes.Unavailable}, false},
		{"no answer in time", &Error{Code: codes.DeadlineExceeded}, false},
		{"the server is at fault", with(auth.Internal), false},
		// A key set is fetched again some time after the issuer has changed it.
		{"a key that is not known yet", with(auth.TokenKeyUnknown), false},
		{"a clock that is behind", with(auth.TokenNotYetValid), false},
		{"asked to wait", &Error{Code: codes.PermissionDenied, RetryAfter: time.Minute}, false},
		{"no error of a server", errors.New("odd"), false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDesk()
				defer d.close()
				token := tokenUntil(time.Now().Add(2 * time.Hour))
				d.token = func() (string, error) { return token, nil }
				d.answer = func(string) (renewal, error) { return renewal{}, test.err }
				l := d.live(time.Hour)
				d.pass(59 * time.Minute)
				if failed := d.failures(); len(failed) != len(d.called) || !errors.Is(failed[0].Err, test.err) || failed[0].Final != test.final {
					t.Fatalf("got %d calls and %+v", len(d.called), d.events)
				}
				if once := len(d.called) == 1; once != test.final {
					t.Errorf("got %d calls, want final %v", len(d.called), test.final)
				}
				if !l.until().Equal(d.began.Add(time.Hour)) {
					t.Errorf("the lease has moved to %v", l.until())
				}
				// Another token helps in either case, and before the streams expire.
				d.set(tokenUntil(d.began.Add(3 * time.Hour)))
				d.pass(time.Minute)
				d.wantRefreshed(t, l, d.began.Add(3*time.Hour))
			})
		})
	}
}

// A server that asks to wait is not asked before.
func TestKeeperRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk()
		defer d.close()
		d.answer = func(string) (renewal, error) {
			return renewal{}, &Error{Code: codes.Unavailable, RetryAfter: 4 * time.Minute}
		}
		d.live(time.Hour)
		d.pass(time.Hour)
		for i := 1; i < len(d.called); i++ {
			if wait := d.called[i] - d.called[i-1]; wait < 4*time.Minute {
				t.Errorf("asked again after %v", wait)
			}
		}
		if len(d.called) < 2 {
			t.Errorf("got calls at %v", d.called)
		}
	})
}

// What the source cannot give is asked for again, more and more slowly, and no
// server is troubled.
func TestKeeperNoToken(t *testing.T) {
	broken := errors.New("the issuer is away")
	tests := []struct {
		name  string
		token func() (string, error)
		want  error
	}{
		{"the source fails", func() (string, error) { return "", broken }, broken},
		{"the token is of no use in a header", func() (string, error) { return "two words", nil }, nil},
		{"the token expires with the streams", func() (string, error) { return tokenUntil(time.Date(2000, 1, 1, 1, 0, 0, 0, time.UTC)), nil }, ErrNoNewToken},
		{"the token expires before", func() (string, error) { return tokenUntil(time.Now().Add(time.Second)), nil }, ErrNoNewToken},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDesk()
				defer d.close()
				d.token = test.token
				l := d.live(time.Hour) // until 01:00:00: a bubble begins at midnight
				d.pass(59 * time.Minute)
				failed := d.failures()
				if len(d.called) > 0 || len(failed) != len(d.asked) || len(failed) < 10 || len(failed) > 40 {
					t.Fatalf("got %d calls and %d events for %d questions", len(d.called), len(failed), len(d.asked))
				}
				for i, f := range failed {
					if f.Err == nil || !errors.Is(f.Err, test.want) && test.want != nil || f.Final {
						t.Fatalf("got %+v", f)
					}
					if i > 0 && failed[i-1].Retry.Sub(d.began) != d.asked[i] {
						t.Errorf("retried after %v, and said %v", d.asked[i], failed[i-1].Retry.Sub(d.began))
					}
				}
				d.set(tokenUntil(d.began.Add(2 * time.Hour)))
				d.pass(time.Minute)
				if !l.until().After(d.began.Add(time.Hour)) || len(d.called) != 1 {
					t.Errorf("got a lease until %v after %d calls", l.until(), len(d.called))
				}
			})
		})
	}
}

// Where no attempt is left before the streams expire, the event says so, and the
// goroutine ends with them: the bubble waits for it.
func TestKeeperGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk()
		d.token = func() (string, error) { return "", errors.New("away") }
		d.live(3 * time.Second)
		d.pass(4 * time.Second)
		failed := d.failures()
		if len(failed) == 0 || !failed[len(failed)-1].Retry.IsZero() {
			t.Errorf("got %+v, want the last without Retry", failed)
		}
	})
}

// A token that makes the streams live no longer, since the certificate ends
// first, is not shown again.
func TestKeeperNotExtended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk()
		token := tokenUntil(time.Now().Add(3 * time.Hour))
		d.token = func() (string, error) { return token, nil }
		l := d.live(time.Hour)
		until := l.until()
		d.answer = func(string) (renewal, error) { return renewal{expires: until, streams: 1, connection: here}, nil }
		d.pass(2 * time.Hour)
		failed := d.failures()
		if len(d.called) != 1 || len(d.events) != 1 || len(failed) != 1 || !errors.Is(failed[0].Err, errNotExtended) || !failed[0].Final {
			t.Errorf("got %d calls, events %+v", len(d.called), d.events)
		}
	})
}

// A connection that the server has asked to leave takes no more calls: its
// streams are not what has been refreshed.
func TestKeeperOtherConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk()
		defer d.close()
		d.answer = func(token string) (renewal, error) {
			got, err := taking(token)
			got.connection, got.streams = "127.0.0.1:2", 0
			return got, err
		}
		l := d.live(time.Hour)
		d.pass(59 * time.Minute)
		failed := d.failures()
		if len(d.called) != 1 || len(d.events) != 1 || len(failed) != 1 || !errors.Is(failed[0].Err, errConnection) || !failed[0].Final {
			t.Errorf("got %d calls, events %+v", len(d.called), d.events)
		}
		if !l.until().Equal(d.began.Add(time.Hour)) {
			t.Errorf("the lease has moved to %v", l.until())
		}
	})
}

// Streams that the server has ended are not refreshed, and no event says that
// they are: their own Receive says how they ended.
func TestKeeperNoStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk()
		d.answer = func(token string) (renewal, error) {
			got, err := taking(token)
			got.streams = 0
			return got, err
		}
		l := d.live(time.Hour)
		d.pass(2 * time.Hour)
		if len(d.called) != 1 || len(d.events) > 0 || !l.until().Equal(d.began.Add(time.Hour)) {
			t.Errorf("got %d calls, events %+v, lease until %v", len(d.called), d.events, l.until())
		}
	})
}

// An attempt that is under way ends with the keeper, and nobody is told.
func TestKeeperStop(t *testing.T) {
	for _, blocked := range []string{"source", "server"} {
		t.Run(blocked, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				reached := false
				wait := func(ctx context.Context, at string) error {
					if at != blocked {
						return nil
					}
					reached = true
					<-ctx.Done()
					return ctx.Err()
				}
				k := newKeeper(
					TokenFunc(func(ctx context.Context) (string, error) {
						return tokenUntil(time.Now().Add(24 * time.Hour)), wait(ctx, "source")
					}),
					func(ctx context.Context, _ *line, _ string) (renewal, error) {
						return renewal{}, wait(ctx, "server")
					},
					func(e Event) { t.Errorf("told of %+v", e) },
				)
				l := &line{}
				k.add(newLease(l, here, time.Now().Add(time.Minute)))
				pass(49 * time.Second)
				if !reached {
					t.Fatal("no attempt is under way")
				}
				k.stop()
				k.wait()
			})
		})
	}
}

// A keeper that waits for the time to come stops at once too, and does not begin
// again.
func TestKeeperStopIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk()
		d.live(time.Hour)
		synctest.Wait()
		d.close()
		if took := time.Since(d.began); took > 0 {
			t.Errorf("stopped after %v", took)
		}
		after := d.live(time.Hour)
		if _, kept := d.leases[after]; kept {
			t.Error("a lease is kept after the end")
		}
	})
}

// A stream with little time is not kept waiting by one with much.
func TestKeeperWoken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk()
		defer d.close()
		d.live(24 * time.Hour)
		d.pass(time.Second)
		until := time.Now().Add(48 * time.Hour)
		d.set(tokenUntil(until))
		short := d.live(10 * time.Second)
		d.pass(10 * time.Second)
		d.wantRefreshed(t, short, until)
	})
}

// A source that blocks is not waited for beyond what is of use.
func TestKeeperAttemptBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk()
		defer d.close()
		d.keeper.source = TokenFunc(func(ctx context.Context) (string, error) {
			d.turn()
			d.asked = append(d.asked, time.Since(d.began))
			<-ctx.Done()
			return "", ctx.Err()
		})
		d.live(time.Hour)
		d.pass(time.Hour)
		if failed := d.failures(); len(failed) < 5 || !errors.Is(failed[0].Err, context.DeadlineExceeded) {
			t.Errorf("got %+v", failed)
		}
	})
}
