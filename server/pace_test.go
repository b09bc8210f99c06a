package server

import (
	"context"
	"fmt"
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

// Users who are gone are forgotten once they have saved up all that they may, and no
// earlier: who leaves and comes back while others come has no more for it.
func TestPaceForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate = 10
		p := newPacer(rate, time.Now)
		say := func(name string) {
			stream := p.join(name)
			if err := stream.wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			p.leave(stream)
		}
		say("bob")
		began := time.Now()
		for i := range 2 * rate {
			say("alice")
			p.leave(p.join(fmt.Sprint("other ", i)))
		}
		if took := time.Since(began); took != rate*time.Second/rate {
			t.Errorf("%d messages took %v, want a second", 2*rate, took)
		}
		if p.users["bob"] != nil {
			t.Error("bob, who may say as much as one who is new, is not forgotten")
		}
	})
}
