package client

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	"securechat/certs"
)

// A rider is what moves from line to line. Both methods are called from the
// mover's goroutine alone.
type rider interface {
	// lags says whether the rider ought to move to the line and could do so now.
	// If so, until is how long it lives where it is; zero where nobody has said.
	lags(behind *line) (until time.Time, yes bool)
	// move has the rider admitted to the line with the token, and says until when
	// it may live there. moved is false where there is nothing left to move, and
	// that is no error. The context bounds it.
	move(ctx context.Context, to *line, token string) (until time.Time, moved bool, err error)
}

// A mover moves a Conn's live streams to the line of the newest certificate. It
// has one goroutine while there are riders, and none otherwise. Its owner calls
// stop and wait.
type mover struct {
	// Set at construction.
	lines  *lines
	source TokenSource
	events func(Event)
	ctx    context.Context // ends with stop
	cancel context.CancelFunc
	wake   chan struct{}

	mu      sync.Mutex
	riders  map[rider]struct{}
	running bool
	runs    sync.WaitGroup
}

func newMover(ls *lines, source TokenSource, events func(Event)) *mover {
	m := &mover{lines: ls, source: source, events: events, wake: make(chan struct{}, 1), riders: map[rider]struct{}{}}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	return m
}

// add has the rider moved until it is removed.
func (m *mover) add(r rider) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ctx.Err() != nil {
		return
	}
	m.riders[r] = struct{}{}
	if m.running {
		m.nudge()
		return
	}
	m.running = true
	m.runs.Go(m.run)
}

// remove may be called again, and for a rider that was never added. A move that
// is under way is not waited for.
func (m *mover) remove(r rider) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.riders, r)
	if len(m.riders) == 0 {
		m.nudge()
	}
}

// nudge has the mover look at once: a rider that was busy may have become free.
func (m *mover) nudge() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// stop ends the goroutine, and an attempt that is under way. There is no other
// from then on.
func (m *mover) stop() {
	m.mu.Lock() // add starts none after wait has begun
	defer m.mu.Unlock()
	m.cancel()
}

// wait waits for the goroutine, after stop.
func (m *mover) wait() { m.runs.Wait() }

func (m *mover) run() {
	timer := time.NewTimer(longestSleep)
	defer timer.Stop()
	for m.ctx.Err() == nil && m.live() {
		changed := m.lines.changed() // before the look at what there is
		timer.Reset(min(m.step(), longestSleep))
		select {
		case <-timer.C:
		case <-changed:
		case <-m.wake:
		case <-m.ctx.Done():
		}
	}
}

// live returns false where there is no rider left and the goroutine must end.
func (m *mover) live() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.running = len(m.riders) > 0
	return m.running
}

// step makes an attempt if one is due, and returns how long nothing is to be done.
func (m *mover) step() time.Duration {
	to := m.lines.newest()
	defer m.lines.drop(to)
	lagging, goal := m.lagging(to, time.Now())
	if len(lagging) == 0 {
		return longestSleep
	}
	if wait := time.Until(to.moving.next); wait > 0 {
		return wait
	}
	m.attempt(to, lagging, goal)
	return time.Until(to.moving.next)
}

// lagging returns who ought to move, and when the first of them expires. What has
// expired already has ended, whether or not the program has noticed.
func (m *mover) lagging(to *line, now time.Time) (lagging []rider, goal time.Time) {
	goal = now.Add(2 * time.Hour) // far enough not to hurry
	m.mu.Lock()
	defer m.mu.Unlock()
	for r := range m.riders {
		until, yes := r.lags(to)
		if !yes || !until.IsZero() && !until.After(now) {
			continue
		}
		lagging = append(lagging, r)
		if !until.IsZero() {
			goal = earlier(goal, until)
		}
	}
	return lagging, goal
}

// attempt asks the token source for a token, and the server to admit the riders
// to the line with it.
func (m *mover) attempt(to *line, lagging []rider, goal time.Time) {
	ctx, cancel := context.WithTimeout(m.ctx, longestAttempt)
	defer cancel()
	token, err := obtain(ctx, m.source)
	switch {
	case m.ctx.Err() != nil:
		return
	case err == nil && token == to.moving.spent: // the program has been told
		to.moving.retry(time.Now(), goal, betweenTokens)
		return
	case err == nil && !to.fits(token):
		err = ErrOtherCertificate
	}
	var moved Moved
	if err == nil {
		moved, err = m.move(ctx, to, lagging, token)
	}
	if moved.Streams > 0 {
		m.events(moved)
	}
	switch {
	case m.ctx.Err() != nil:
	case err != nil:
		m.failed(to, goal, token, err)
	case moved.Streams == 0: // all have ended meanwhile, or a newer certificate has come
		to.moving.next = time.Now().Add(betweenTokens)
	default:
		to.moving = pace{}
	}
}

// move moves one rider after the other, as long as the line is the newest. Where
// one is refused for a reason that is not all riders', it goes on; it returns the
// first such reason.
func (m *mover) move(ctx context.Context, to *line, lagging []rider, token string) (all Moved, first error) {
	for _, r := range lagging {
		if !m.lines.isNewest(to) {
			break
		}
		until, moved, err := r.move(ctx, to, token)
		switch {
		case err != nil && first == nil:
			first = err
		case err == nil && moved:
			m.lines.proven(to)
			all.Streams++
			if all.Expires.IsZero() || !until.IsZero() && until.Before(all.Expires) {
				all.Expires = until
			}
		}
		if ctx.Err() != nil || concernsAll(err) {
			break
		}
	}
	return all, first
}

func (m *mover) failed(to *line, goal time.Time, token string, err error) {
	event := MoveFailed{Err: err, Final: finalForLine(err)}
	least := betweenTokens
	var refusal *Error
	if errors.As(err, &refusal) {
		least = max(least, refusal.asked())
	}
	if event.Final {
		to.moving.spent = token
	}
	event.Retry = to.moving.retry(time.Now(), goal, least)
	m.events(event)
}

// concernsAll says whether what a rider met would meet the next one as well.
func concernsAll(err error) bool {
	var refusal *Error
	return errors.As(err, &refusal) && (refusal.Code == codes.Unavailable || refusal.Code == codes.Unauthenticated)
}

// finalForLine says whether the server would refuse the same certificate and token
// again. What may pass are an authority that it does not trust yet, and a
// certificate that is not valid yet; and what it will not do for one stream it
// may do for others.
func finalForLine(err error) bool {
	if errors.Is(err, ErrOtherUser) {
		return true
	}
	switch problem, _ := certs.ProblemOf(err); problem {
	case certs.Revoked, certs.Unusable, certs.Missing:
		return true
	}
	var refusal *Error
	return errors.As(err, &refusal) && refusal.Code == codes.Unauthenticated && refusal.refusesToken()
}
