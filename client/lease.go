package client

import (
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// A lease is until when the server lets a stream live.
type lease struct {
	line       *line
	connection string // the connection's address on this side
	expires    atomic.Pointer[time.Time]

	// Guarded by the keeper's mu.
	due time.Time // when to refresh; zero: never again
}

func newLease(l *line, connection string, expires time.Time) *lease {
	lease := &lease{line: l, connection: connection}
	lease.expires.Store(&expires)
	return lease
}

func (l *lease) until() time.Time { return *l.expires.Load() }

// dueIn is how long it is until the lease is to be refreshed: by the wall clock,
// which has the server's time, or by the time that has passed if that comes first,
// since the wall clock may be set back.
func (l *lease) dueIn(now time.Time) time.Duration {
	return min(l.due.Sub(now), l.due.Round(0).Sub(now.Round(0)))
}

// move sets both ends of the lease.
func (l *lease) move(expires, due time.Time) {
	l.expires.Store(&expires)
	l.due = due
}

// dueAt is when to refresh what expires then: after 70 to 80 percent of what is
// left, so that many clients that began together do not all come at once.
func dueAt(now, expires time.Time) time.Time {
	return now.Add(spread(expires.Sub(now)/4*3, 1./15))
}

// spread returns d, more or less by up to the share of it.
func spread(d time.Duration, share float64) time.Duration {
	return time.Duration(float64(d) * (1 + share*(2*rand.Float64()-1)))
}
