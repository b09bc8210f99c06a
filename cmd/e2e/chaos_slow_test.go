//go:build e2e

package e2e

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"securechat/auth"
)

const (
	crowd = 200 // members
	// slowdown is how much one slow member may cost the others.
	slowdown = 2
	// sluggards are slow members, and held what the server may hold for all of
	// them: each has its window and what waits to be sent, 128 KiB in all, and the
	// room's events are there once.
	sluggards = 50
	held      = 32 << 20
)

// slowMember has one member in a crowd read nothing: it is cut, the others do not
// feel it, and it comes back and has everything.
func (c *chaos) slowMember(t *testing.T) {
	w := newTown(t)
	n := c.node(w, nil, "--data", w.path("rooms"))
	l := newLoud(t, w, n)
	defer l.end()
	dave := w.user("dave")
	l.seat(w.user("carol"), crowd-1)
	// In turns without and with one. What the machine does beside can be in either,
	// so that it takes more turns on some days.
	var without, with []time.Duration
	ratio := math.Inf(1)
	least, most := c.times(2, 10), c.times(6, 20)
	for turn := 0; turn < least || ratio > slowdown && turn < most; turn++ {
		l.p99()
		for range 3 {
			l.more(20)
			without = append(without, l.p99())
		}
		cuts := l.cuts()
		s := l.sluggard(dave)
		for l.p99(); l.cuts() == cuts; {
			l.more(20)
			with = append(with, l.p99())
		}
		err := s.read(math.MaxUint64)
		if reason, _ := auth.ReasonOf(err); status.Code(err) != codes.ResourceExhausted || reason != auth.SlowConsumer {
			t.Fatalf("the slow member is told %v", err)
		}
		if err := s.resume(); err != nil {
			t.Errorf("the slow member, %v", err)
		}
		ratio = float64(median(with)) / float64(median(without))
	}
	t.Logf("p99 over 2 seconds, the median: %v without, %v with a slow member; %.2f times", median(without), median(with), ratio)
	if ratio > slowdown {
		t.Errorf("with a slow member the others' p99 is %.2f times what it is without: %v, %v", ratio, with, without)
	}
}

func median(of []time.Duration) time.Duration {
	return slices.Sorted(slices.Values(of))[len(of)/2]
}

// slowMembers has many members read nothing: what the server holds for them has a
// bound, and each comes back and has everything.
func (c *chaos) slowMembers(t *testing.T) {
	w := newTown(t)
	n := c.node(w, nil, "--data", w.path("rooms"))
	l := newLoud(t, w, n)
	defer l.end()
	dave := w.user("dave")
	before, most := l.heap(), 0
	var slow []*sluggard
	for range sluggards {
		slow = append(slow, l.sluggard(dave))
	}
	eventually(t, "the slow members are cut", func() error {
		most = max(most, l.heap())
		if cuts := l.cuts(); cuts < sluggards {
			return fmt.Errorf("%d of %d are", cuts, sluggards)
		}
		return nil
	})
	if most-before > held {
		t.Errorf("for %d slow members the server holds %d KiB, want at most %d", sluggards, (most-before)>>10, held>>10)
	}
	for _, s := range slow {
		if err := s.read(math.MaxUint64); err == nil {
			t.Error("a slow member's stream goes on")
		}
		if err := s.resume(); err != nil {
			t.Errorf("a slow member, %v", err)
		}
	}
	t.Logf("for %d slow members the server held %d KiB at most", sluggards, (most-before)>>10)
}
