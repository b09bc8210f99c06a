package client

import (
	"encoding/base64"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// However short the tokens' lives, the streams live on if that is possible, and
// the server is not called more often than it ought to be.
func TestKeeperPace(t *testing.T) {
	for _, life := range []time.Duration{3 * time.Second, 10 * time.Second, time.Minute, time.Hour, 24 * time.Hour} {
		t.Run(life.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDesk()
				defer d.close()
				d.token = func() (string, error) { return tokenUntil(time.Now().Add(life)), nil }
				d.live(life)
				d.pass(20 * life)
				if n := len(d.called); n < 20 || n > 31 || len(d.failures()) > 0 {
					t.Errorf("got %d calls in twenty lives, events %+v", n, d.events)
				}
				before := time.Duration(0)
				least, most := life, time.Duration(0)
				for _, at := range d.called {
					if before > 0 && at-before < betweenCalls {
						t.Errorf("called again after %v", at-before)
					}
					least, most = min(least, at-before), max(most, at-before)
					before = at
				}
				// Expiry is to the second, so that of short lives up to one is missing.
				if least < (life-time.Second)*70/100 || most > max(life*80/100, betweenCalls) {
					t.Errorf("refreshed after %v to %v of %v", least, most, life)
				}
				if life > 10*time.Second && most-least < life/50 {
					t.Errorf("refreshed after %v to %v of %v, as everybody else is", least, most, life)
				}
			})
		})
	}
}

// One call is for all streams of a connection, and one goroutine for all calls.
func TestKeeperManyStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk()
		defer d.close()
		until := d.began.Add(5 * time.Hour)
		d.token = func() (string, error) { return tokenUntil(until), nil }
		leases := []*lease{d.live(time.Hour), d.live(2 * time.Hour), d.live(time.Hour)}
		ended := d.live(30 * time.Minute)
		d.remove(ended)
		d.remove(ended)
		d.pass(time.Hour)
		if len(d.called) != 1 {
			t.Errorf("got calls at %v, want one", d.called)
		}
		for _, l := range leases {
			d.wantRefreshed(t, l, until)
		}
		if ended.until().Equal(until) {
			t.Error("a stream that has ended was refreshed")
		}
	})
}

// A stream that is admitted while a refresh is under way has its own token,
// which the refresh may have replaced by one that expires sooner.
func TestKeeperAdmittedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk()
		defer d.close()
		var long, short *lease
		d.answer = func(token string) (renewal, error) {
			if long == nil {
				long, short = d.live(10*time.Hour), d.live(10*time.Minute)
			}
			return taking(token)
		}
		d.token = func() (string, error) { return tokenUntil(d.began.Add(3 * time.Hour)), nil }
		first := d.live(time.Hour)
		d.pass(48*time.Minute + time.Second)
		d.wantRefreshed(t, first, d.began.Add(3*time.Hour))
		d.wantRefreshed(t, long, d.began.Add(3*time.Hour))
		if short.until().After(d.began.Add(time.Hour)) {
			t.Errorf("the short one lives until %v, and nobody has said so", short.until())
		}
	})
}

// Without streams there is no goroutine, and with the next one there is again.
func TestKeeperIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk()
		for range 3 {
			l := d.live(time.Hour)
			synctest.Wait()
			d.remove(l)
			synctest.Wait()
			d.mu.Lock()
			running := d.running
			d.mu.Unlock()
			if running {
				t.Fatal("it runs on")
			}
		}
		d.add(newLease(d.line, here, time.Time{}))                // the server did not say
		d.add(newLease(d.line, here, time.Now().Add(-time.Hour))) // nothing is left
		d.pass(2 * time.Hour)
		if len(d.asked) > 0 {
			t.Errorf("asked for tokens at %v", d.asked)
		}
	})
}

func TestExpiryOf(t *testing.T) {
	with := func(payload string) string {
		return "e30." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".c2ln"
	}
	for _, token := range []string{
		"", "opaque", "a.b", "e30.!.x", with("1"), with("{}"), with(`{"exp":"soon"}`), with(`{"exp":-1}`), with(`{"exp":1e300}`), with(`{"exp":null}`),
	} {
		if expires, ok := expiryOf(token); ok {
			t.Errorf("%q: got %v, want none", token, expires)
		}
	}
	for payload, want := range map[string]int64{`{"exp":0}`: 0, `{"exp":1.9,"sub":"x"}`: 1, `{"exp":2000000000}`: 2e9} {
		if got, ok := expiryOf(with(payload)); !ok || got.Unix() != want {
			t.Errorf("%s: got %v, %v", payload, got, ok)
		}
	}
}

func TestSpread(t *testing.T) {
	var all []time.Duration
	for range 1000 {
		all = append(all, spread(time.Minute, 0.2))
	}
	if least, most := slices.Min(all), slices.Max(all); least < 48*time.Second || least > 52*time.Second || most > 72*time.Second || most < 68*time.Second {
		t.Errorf("got %v to %v", least, most)
	}
}

// However late something expires, it is due before that and not before three
// quarters of what is left, more or less.
func TestDueAt(t *testing.T) {
	now := time.Now()
	for _, left := range []time.Duration{time.Second, time.Hour, 100 * 365 * 24 * time.Hour, math.MaxInt64} {
		if due := dueAt(now, now.Add(left)).Sub(now); due < left/10*7 || due > left/10*9 {
			t.Errorf("what expires in %v is due in %v", left, due)
		}
	}
}
