package server

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// A second's worth comes at once, and the rest at the rate, however many streams
// they come on.
func TestPaceIsAUsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate, total = 10, 35
		p := newPacer(rate, time.Now)
		began := time.Now()
		for i := range total {
			stream := p.join("alice")
			if err := stream.wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			p.leave(stream)
			due := max(0, time.Duration(i-rate+1)*time.Second/rate)
			if took := time.Since(began); took != due {
				t.Fatalf("message %d comes after %v, want %v", i, took, due)
			}
		}
		other := p.join("bob")
		defer p.leave(other)
		began = time.Now()
		if err := other.wait(t.Context()); err != nil || time.Since(began) > 0 {
			t.Errorf("another user waits %v, %v", time.Since(began), err)
		}
	})
}

// Who gives up and comes back, over and over, does not wait the longer for it.
func TestATurnThatIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPacer(1, time.Now)
		alice := p.join("alice")
		defer p.leave(alice)
		if err := alice.wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		for range 100 {
			if alice.wait(gone) == nil {
				t.Fatal("a turn came at once")
			}
		}
		began := time.Now()
		if err := alice.wait(t.Context()); err != nil || time.Since(began) != time.Second {
			t.Errorf("the next turn comes after %v, %v, want a second", time.Since(began), err)
		}
	})
}

// Users who are gone are forgotten once they have no turn to wait for.
func TestPaceForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPacer(1, time.Now)
		for _, name := range []string{"alice", "bob"} {
			stream := p.join(name)
			if err := stream.wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			if name == "bob" {
				stream.spend() // a turn a second from now
			}
			p.leave(stream)
		}
		p.leave(p.join("carol"))
		if len(p.users) != 2 || p.users["alice"] != nil {
			t.Errorf("kept are %v, want bob, whose turn is to come, and carol", p.users)
		}
	})
}
