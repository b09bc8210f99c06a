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

// enter waits for a place, which the caller of ctx has until done is called. The
// context ends the waiting.
func (t *turnstile) enter(ctx context.Context) (done func(), err error) {
	id, _ := auth.FromContext(ctx)
	name := accountOf(id)
	own := t.join(name)
	if err := occupy(ctx, own.places); err != nil {
		t.leave(name, own)
		return nil, err
	}
	if err := occupy(ctx, t.all); err != nil {
		<-own.places
		t.leave(name, own)
		return nil, err
	}
	return func() {
		<-t.all
		<-own.places
		t.leave(name, own)
	}, nil
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
