package client

import (
	"context"
	"sync"
	"time"
)

// longestSleep bounds how late the keeper sees that the wall clock has jumped, or
// that the machine has slept, which timers do not count.
const longestSleep = time.Minute

// A keeper keeps the leases of a Conn's live streams fresh. It has one goroutine
// while there are leases, and none otherwise. Its owner calls stop and wait.
type keeper struct {
	// Set at construction.
	source TokenSource
	renew  func(ctx context.Context, via *line, token string) (renewal, error)
	events func(Event)
	ctx    context.Context // ends with stop
	cancel context.CancelFunc
	wake   chan struct{} // the leases have changed

	mu      sync.Mutex
	leases  map[*lease]struct{}
	running bool
	runs    sync.WaitGroup
}

// A renewal is what the server makes of a refresh.
type renewal struct {
	expires    time.Time
	streams    int
	connection string // the address on this side of the connection that it came over
}

func newKeeper(source TokenSource, renew func(context.Context, *line, string) (renewal, error), events func(Event)) *keeper {
	k := &keeper{source: source, renew: renew, events: events, wake: make(chan struct{}, 1), leases: map[*lease]struct{}{}}
	k.ctx, k.cancel = context.WithCancel(context.Background())
	return k
}

// add keeps the lease fresh until it is removed or expires.
func (k *keeper) add(l *lease) {
	now := time.Now()
	if !now.Before(l.until()) {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ctx.Err() != nil {
		return
	}
	l.due = dueAt(now, l.until())
	k.leases[l] = struct{}{}
	if k.running {
		k.nudge()
		return
	}
	k.running = true
	k.runs.Go(k.run)
}

// remove may be called again, and for a lease that was never added.
func (k *keeper) remove(l *lease) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.leases, l)
	if len(k.leases) == 0 {
		k.nudge()
	}
}

func (k *keeper) nudge() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// stop ends the goroutine, and an attempt that is under way. There is no other
// from then on.
func (k *keeper) stop() {
	k.mu.Lock() // add starts none after wait has begun
	defer k.mu.Unlock()
	k.cancel()
}

// wait waits for the goroutine, after stop.
func (k *keeper) wait() { k.runs.Wait() }

func (k *keeper) run() {
	timer := time.NewTimer(longestSleep)
	defer timer.Stop()
	for k.ctx.Err() == nil {
		next, wait, live := k.next(time.Now())
		if !live {
			return
		}
		if wait <= 0 {
			k.attempt(next)
			continue
		}
		timer.Reset(min(wait, longestSleep))
		select {
		case <-timer.C:
		case <-k.wake:
		case <-k.ctx.Done():
		}
	}
}

// next returns the line to refresh where wait is zero or less, and otherwise how
// long nothing is to be done; and false where there is no lease left and the
// goroutine must end. What has expired is forgotten: its stream has ended,
// whether or not the program has noticed.
func (k *keeper) next(now time.Time) (next *line, wait time.Duration, live bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	wait = longestSleep
	for l := range k.leases {
		left := l.until().Sub(now)
		if left <= 0 {
			delete(k.leases, l)
			continue
		}
		wait = min(wait, left)
		if l.due.IsZero() {
			continue
		}
		if off := max(l.dueIn(now), l.line.pace.next.Sub(now)); off <= wait {
			next, wait = l.line, off
		}
	}
	k.running = len(k.leases) > 0
	return next, wait, k.running
}

// held returns the leases of the line that are to be refreshed, and when the
// first of those that are due expires.
func (k *keeper) held(via *line, now time.Time) (held []*lease, goal time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for l := range k.leases {
		if l.line != via || l.due.IsZero() {
			continue
		}
		held = append(held, l)
		if l.dueIn(now) <= 0 && (goal.IsZero() || l.until().Before(goal)) {
			goal = l.until()
		}
	}
	return held, goal
}
