//go:build e2e

package e2e

import (
	"fmt"
	"math"
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
	// What the machine does beside is in both; the least disturbed round of each
	// counts.
	without, with := time.Duration(math.MaxInt64), time.Duration(math.MaxInt64)
	for range c.times(2, 10) {
		l.p99()
		l.more(60)
		quiet := l.p99()
		cuts := l.cuts()
		s := l.sluggard(dave)
		l.p99()
		eventually(t, "the slow member is cut", func() error {
			if l.cuts() == cuts {
				return fmt.Errorf("%d cuts", cuts)
			}
			return nil
		})
		slow := l.p99()
		err := s.read(math.MaxUint64)
		if reason, _ := auth.ReasonOf(err); status.Code(err) != codes.ResourceExhausted || reason != auth.SlowConsumer {
			t.Fatalf("the slow member is told %v", err)
		}
		if err := s.resume(); err != nil {
			t.Errorf("the slow member, %v", err)
		}
		t.Logf("p99 %v without, %v with a slow member", quiet, slow)
		without, with = min(without, quiet), min(with, slow)
	}
	if with > slowdown*without {
		t.Errorf("with a slow member the others' p99 is %v, without %v", with, without)
	}
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
