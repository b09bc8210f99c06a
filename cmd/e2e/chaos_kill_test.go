//go:build e2e

package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// stretch is how long a conversation may take in which something is broken so many
// times.
func stretch(times int) time.Duration { return 2*patience + time.Duration(times)*10*time.Second }

// kill kills the server under several senders and readers in several rooms, and
// starts it again on what it has left on the disk.
func (c *chaos) kill(t *testing.T) {
	kills := c.times(5, 100)
	w := newTown(t)
	n := c.node(w, nil, "--data", w.path("rooms"))
	talk := converse(t, stretch(kills))
	alice, bob, carol := w.user("alice"), w.user("bob"), w.user("carol")
	for i := range 3 {
		room := fmt.Sprint("room", i)
		talk.speak(alice.dial(n.listen), "alice-in-"+room, room)
		talk.speak(alice.dial(n.listen), "alice-elsewhere-in-"+room, room)
		talk.speak(bob.dial(n.listen), "bob-in-"+room, room)
		talk.listen(bob.dial(n.listen), "bob-in-"+room, room)
		talk.wander(carol.raw(n.listen), "carol-in-"+room, room, 0, nil)
	}
	var away []time.Duration
	for range kills {
		talk.more(50 + c.random.IntN(300))
		began := time.Now()
		n.kill()
		n.start()
		away = append(away, time.Since(began))
	}
	talk.more(100)
	talk.end(carol.dial(n.listen))
	slices.Sort(away)
	t.Logf("%d kills; from a kill to being ready again: median %v, longest %v", kills, away[kills/2], away[kills-1])
}

// reconnect has readers come back to their cursors, with streams of their own and
// as rooms of package client, while connections are reset and the server is
// killed.
func (c *chaos) reconnect(t *testing.T) {
	returns, every := c.times(100, 1000), 50
	w := newTown(t)
	n := c.node(w, nil, "--data", w.path("rooms"))
	between := newRelay(t, n.listen)
	talk := converse(t, stretch(returns))
	alice, bob, carol := w.user("alice"), w.user("bob"), w.user("carol")
	talk.speak(alice.dial(between.address()), "alice", "ops")
	talk.speak(bob.dial(n.listen), "bob", "ops")
	for i := range 3 {
		talk.listen(bob.dial(between.address()), fmt.Sprint("bob-", i), "ops")
		talk.wander(carol.raw(between.address()), fmt.Sprint("carol-", i), "ops", 40, c.source())
	}
	resets, kills := 0, 0
	for next := int64(every); talk.breaks.Load() < int64(returns); {
		talk.more(1 + c.random.IntN(60))
		between.reset()
		resets++
		if talk.breaks.Load() >= next {
			n.kill()
			n.start()
			kills++
			next = talk.breaks.Load() + int64(every)
		}
	}
	talk.more(100)
	talk.end(carol.dial(n.listen))
	t.Logf("%d resets of all connections, %d kills", resets, kills)
}
