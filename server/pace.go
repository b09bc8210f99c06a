package server

import (
	"context"
	"maps"
	"sync"
	"time"
)

// paceBurst is how much of its time a user may have saved up: after a pause, the
// messages of one second may come at once.
const paceBurst = time.Second

// A pacer spaces what each user says in rooms, on all streams together. What comes
// faster is read later: nothing is lost, and HTTP/2 holds the client back.
type pacer struct {
	interval time.Duration // between two messages; 0: no bound
	now      func() time.Time

	mu    sync.Mutex
	users map[string]*pace
}

// A pace is one user's. A nil one sets no bound.
type pace struct {
	pacer   *pacer
	streams int       // guarded by the pacer's mu, as is next
	next    time.Time // the turn of the last message that has come
}

func newPacer(perSecond int, now func() time.Time) *pacer {
	p := &pacer{now: now, users: make(map[string]*pace)}
	if perSecond > 0 {
		p.interval = time.Second / time.Duration(perSecond)
	}
	return p
}

// join returns the pace of a user's stream, which leaves it when it ends.
func (p *pacer) join(name string) *pace {
	if p.interval == 0 {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	user, ok := p.users[name]
	if !ok {
		p.forget()
		user = &pace{pacer: p}
		p.users[name] = user
	}
	user.streams++
	return user
}

// forget drops users who are gone and have saved up all that they may: a new pace
// is no better than theirs. With mu held.
func (p *pacer) forget() {
	full := p.now().Add(-paceBurst)
	maps.DeleteFunc(p.users, func(_ string, user *pace) bool { return user.streams == 0 && !user.next.After(full) })
}

func (p *pacer) leave(user *pace) {
	if user == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	user.streams--
}

// wait waits for the turn of a message that has come. So each counts before it is
// said, the first of a stream like any other. One that is given up takes no turn.
func (p *pace) wait(ctx context.Context) error {
	if p == nil {
		return nil
	}
	delay := p.spend()
	if delay <= 0 {
		return nil
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		p.giveBack()
		return ctx.Err()
	}
}

// spend takes the next turn and says how long it is until then.
func (p *pace) spend() time.Duration {
	p.pacer.mu.Lock()
	defer p.pacer.mu.Unlock()
	now := p.pacer.now()
	if earliest := now.Add(-paceBurst); p.next.Before(earliest) {
		p.next = earliest
	}
	p.next = p.next.Add(p.pacer.interval)
	return p.next.Sub(now)
}

func (p *pace) giveBack() {
	p.pacer.mu.Lock()
	defer p.pacer.mu.Unlock()
	p.next = p.next.Add(-p.pacer.interval)
}
