package server

import (
	"context"
	"sync"

	"securechat/auth"
)

// A turnstile bounds how much of something is done at a time, in all and for one caller:
// what is beyond that waits. So a caller who asks for much waits for itself, and
// others find places.
type turnstile struct {
	each int
	all  chan struct{} // has a place for each that may be done at a time

	mu      sync.Mutex
	callers map[string]*turns
}

// turns are one caller's.
type turns struct {
	users  int           // those who have a place or wait; guarded by the turnstile's mu
	places chan struct{} // as all
}

func newTurnstile(each, all int) *turnstile {
	return &turnstile{each: each, all: make(chan struct{}, all), callers: make(map[string]*turns)}
}

// A turn is a place that a caller has.
type turn struct {
	turnstile *turnstile
	name      string
	own       *turns
}

// enter waits for a place for the caller of ctx. The context ends the waiting.
func (t *turnstile) enter(ctx context.Context) (turn, error) {
	id, _ := auth.FromContext(ctx)
	name := accountOf(id)
	own := t.join(name)
	if err := occupy(ctx, own.places); err != nil {
		t.leave(name, own)
		return turn{}, err
	}
	place := turn{turnstile: t, name: name, own: own}
	if err := occupy(ctx, t.all); err != nil {
		place.giveBack()
		return turn{}, err
	}
	return place, nil
}

// done gives the place back.
func (t turn) done() {
	<-t.turnstile.all
	t.giveBack()
}

// answered gives the place back of a unary call that has its answer. It counts among
// its caller's until the client has taken the answer, which is held until then: who
// asks and does not read must not have ever more held.
func (t turn) answered(ctx context.Context) {
	<-t.turnstile.all
	onceTaken(ctx, t.giveBack)
}

func (t turn) giveBack() {
	<-t.own.places
	t.turnstile.leave(t.name, t.own)
}

func occupy(ctx context.Context, places chan<- struct{}) error {
	select {
	case places <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *turnstile) join(name string) *turns {
	t.mu.Lock()
	defer t.mu.Unlock()
	own, ok := t.callers[name]
	if !ok {
		own = &turns{places: make(chan struct{}, t.each)}
		t.callers[name] = own
	}
	own.users++
	return own
}

func (t *turnstile) leave(name string, own *turns) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if own.users--; own.users == 0 {
		delete(t.callers, name)
	}
}
