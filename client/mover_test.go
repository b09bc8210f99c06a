package client

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	"securechat/auth"
	"securechat/auth/authtest"
	"securechat/certs"
)

// A ferry is a mover with a server, sources and one rider that a test decides
// about. It is for use in a bubble.
type ferry struct {
	*mover
	began  time.Time
	source *swap
	on     *line

	token  func() (string, error)
	answer func() (moved bool, err error)
	until  time.Time
	order  sync.Mutex // puts what a test does before what the mover does while time passes

	asked  []time.Duration // when the token source was asked, since the beginning
	called []time.Duration // and the server
	events []Event
}

func newFerry(t *testing.T, first *certs.Material) *ferry {
	t.Helper()
	f := &ferry{began: time.Now(), source: &swap{}, until: time.Now().Add(24 * time.Hour)}
	f.source.Store(first)
	ls, err := newLines(Config{Certificates: f.source, Log: slog.New(slog.DiscardHandler)}, "127.0.0.1:1")
	must(t, err)
	f.on = ls.current
	f.token = func() (string, error) { return "token", nil }
	f.answer = func() (bool, error) { return true, nil }
	source := TokenFunc(func(context.Context) (string, error) {
		f.turn()
		f.asked = append(f.asked, time.Since(f.began))
		return f.token()
	})
	f.mover = newMover(ls, source, func(e Event) { f.events = append(f.events, e) })
	f.add(f)
	synctest.Wait()
	return f
}

func (f *ferry) turn() {
	f.order.Lock()
	defer f.order.Unlock()
}

// pass lets time pass while the mover has its way.
func (f *ferry) pass(d time.Duration) {
	f.turn()
	pass(d)
}

func (f *ferry) lags(behind *line) (time.Time, bool) { return f.until, f.on != behind }

func (f *ferry) move(_ context.Context, to *line, _ string) (time.Time, bool, error) {
	f.called = append(f.called, time.Since(f.began))
	moved, err := f.answer()
	if moved {
		f.on = to
	}
	return f.until, moved, err
}

// certify changes the certificate, which the mover sees at once.
func (f *ferry) certify(m *certs.Material) {
	f.source.Store(m)
	f.nudge()
	synctest.Wait()
}

func (f *ferry) close() {
	f.stop()
	f.wait()
	_ = f.lines.close()
}

// A failure that is final is met once; any other again and again, with pauses.
func TestMoverRefused(t *testing.T) {
	realm := authtest.NewRealm(t)
	first, second, third := realm.User("alice").Certificates, realm.User("alice").Certificates, realm.User("alice").Certificates
	with := func(r auth.Reason) error { return &Error{Code: r.Code(), Reason: r} }
	tests := []struct {
		name  string
		err   error
		final bool
	}{
		{"another user's", ErrOtherUser, true},
		{"the token is revoked", with(auth.TokenRevoked), true},
		{"the token is another certificate's", with(auth.TokenBinding), true},
		{"the certificate is revoked", with(auth.CertificateRevoked), true},
		{"the handshake says revoked", &Error{Code: codes.Unavailable, cause: &certs.CheckError{Problem: certs.Revoked}}, true},
		{"the certificate is not fit for a client", &Error{Code: codes.Unavailable, cause: &certs.CheckError{Problem: certs.Unusable}}, true},

		// Authorities and clocks may be a step behind.
		{"an authority that is not known yet", &Error{Code: codes.Unavailable, cause: &certs.CheckError{Problem: certs.Untrusted}}, false},
		{"a certificate that is not valid yet", &Error{Code: codes.Unavailable, cause: &certs.CheckError{Problem: certs.Expired}}, false},
		{"a key that is not known yet", with(auth.TokenKeyUnknown), false},
		{"no connection", &Error{Code: codes.Unavailable}, false},
		{"no keys just now", with(auth.KeysUnavailable), false},
		// One stream's trouble is not another's.
		{"the room is closed", with(auth.RoomDenied), false},
		{"too many streams", with(auth.TooManyStreams), false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFerry(t, first)
				defer f.close()
				f.answer = func() (bool, error) { return false, test.err }
				f.certify(second)
				f.pass(time.Hour)
				if len(f.events) != len(f.called) || (len(f.called) == 1) != test.final {
					t.Fatalf("got %d calls and %d events, want final %v", len(f.called), len(f.events), test.final)
				}
				if n := len(f.asked); n < 50 || n > 80 {
					t.Errorf("asked for a token %d times in an hour", n)
				}
				for i, e := range f.events {
					failed, ok := e.(MoveFailed)
					if !ok || !errors.Is(failed.Err, test.err) || failed.Final != test.final {
						t.Fatalf("got %+v", e)
					}
					if i > 0 && f.events[i-1].(MoveFailed).Retry.Sub(f.began) > f.called[i] {
						t.Errorf("tried after %v, and said %v", f.called[i], f.events[i-1].(MoveFailed).Retry)
					}
				}
				// Another token helps, or another certificate.
				f.answer = func() (bool, error) { return true, nil }
				if test.final {
					f.token = func() (string, error) { return "another", nil }
					f.pass(2 * time.Minute)
				} else {
					f.certify(third)
				}
				if moved, ok := f.events[len(f.events)-1].(Moved); !ok || moved.Streams != 1 || !moved.Expires.Equal(f.until) {
					t.Errorf("got %+v, want Moved", f.events[len(f.events)-1])
				}
			})
		})
	}
}

// A certificate that comes after one that was refused for good is tried with the
// token there is.
func TestMoverFinalUntilCertificate(t *testing.T) {
	realm := authtest.NewRealm(t)
	first, second, third := realm.User("alice").Certificates, realm.User("alice").Certificates, realm.User("alice").Certificates
	synctest.Test(t, func(t *testing.T) {
		f := newFerry(t, first)
		defer f.close()
		f.answer = func() (bool, error) { return false, ErrOtherUser }
		f.certify(second)
		f.answer = func() (bool, error) { return true, nil }
		f.pass(10 * time.Minute)
		if len(f.called) != 1 {
			t.Errorf("got calls at %v", f.called)
		}
		f.certify(third)
		if _, ok := f.events[len(f.events)-1].(Moved); !ok {
			t.Errorf("got %+v, want Moved", f.events)
		}
	})
}

// A passenger is a rider beside the ferry's own.
type passenger func(to *line) error

func (*passenger) lags(*line) (time.Time, bool) { return time.Time{}, true }

func (p *passenger) move(_ context.Context, to *line, _ string) (time.Time, bool, error) {
	return time.Time{}, false, (*p)(to)
}

// What all would meet ends an attempt, and so does a newer certificate; what one
// alone meets does not.
func TestMoverGoesOn(t *testing.T) {
	realm := authtest.NewRealm(t)
	first, second, third := realm.User("alice").Certificates, realm.User("alice").Certificates, realm.User("alice").Certificates
	tests := []struct {
		name  string
		err   error
		newer bool
		want  int // riders that are asked in the first attempt
	}{
		{"unreachable", &Error{Code: codes.Unavailable}, false, 1},
		{"not authenticated", &Error{Code: codes.Unauthenticated}, false, 1},
		{"a newer certificate", nil, true, 1},
		{"denied", &Error{Code: codes.PermissionDenied}, false, 3},
		{"full", &Error{Code: codes.ResourceExhausted}, false, 3},
		{"ended", nil, false, 3},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFerry(t, first)
				defer f.close()
				f.remove(f)
				synctest.Wait()
				f.certify(second)
				asked := 0
				for range 3 {
					one := passenger(func(to *line) error {
						if to.certificate == thumbprintOf(second) {
							asked++
						}
						if test.newer {
							f.source.Store(third)
						}
						return test.err
					})
					f.mover.mu.Lock()
					f.riders[&one] = struct{}{}
					f.mover.mu.Unlock()
				}
				f.mover.step()
				if asked != test.want {
					t.Errorf("%d riders were asked, want %d", asked, test.want)
				}
			})
		})
	}
}

// Events come one after the other, from whichever goroutine.
func TestEventsOneByOne(t *testing.T) {
	n := 0
	tell := oneByOne(func(Event) { n++ })
	var tellers sync.WaitGroup
	for range 4 {
		tellers.Go(func() {
			for range 100 {
				tell(Moved{})
			}
		})
	}
	tellers.Wait()
	if n != 400 {
		t.Errorf("got %d events", n)
	}
}
