package roomtest

import (
	"context"
	"fmt"
	"sync"

	"securechat/server/room"
)

// faults is what a test has switched on.
type faults struct {
	mu        sync.Mutex
	fail      error
	failReads error
	conflicts int
	doubt     *doubt
	appends   gate
	answers   gate
}

// doubt is about the append after skip more: how many drafts it stores.
type doubt struct{ skip, stored int }

// A gate holds up those who come until it is opened; nil is open.
type gate chan struct{}

// Fail makes every append fail with room.ErrUnavailable because of cause, and
// store nothing, until it is called with nil.
func (m *Memory) Fail(cause error) {
	m.faults.mu.Lock()
	defer m.faults.mu.Unlock()
	m.faults.fail = cause
}

// FailReads makes everything but appends fail with room.ErrUnavailable because of
// cause until it is called with nil.
func (m *Memory) FailReads(cause error) {
	m.faults.mu.Lock()
	defer m.faults.mu.Unlock()
	m.faults.failReads = cause
}

// Conflict makes the next appends fail with room.ErrConflict, and store nothing,
// although nobody else has written to the room.
func (m *Memory) Conflict(appends int) {
	m.faults.mu.Lock()
	defer m.faults.mu.Unlock()
	m.faults.conflicts = appends
}

// Doubt makes one append, after skip others, fail with room.ErrInDoubt although it
// has stored its first drafts, as many as stored says.
func (m *Memory) Doubt(skip, stored int) {
	m.faults.mu.Lock()
	defer m.faults.mu.Unlock()
	m.faults.doubt = &doubt{skip, stored}
}

// doubted returns how many of an append's drafts are to be stored, and whether its
// outcome is to be in doubt then.
func (f *faults) doubted(drafts int) (stored int, inDoubt bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch d := f.doubt; {
	case d == nil:
		return drafts, false
	case d.skip > 0:
		d.skip--
		return drafts, false
	default:
		f.doubt = nil
		return min(d.stored, drafts), true
	}
}

// HoldAppends keeps appends from storing anything until release is called or
// their context ends.
func (m *Memory) HoldAppends() (release func()) { return m.hold(&m.faults.appends) }

// HoldAnswers keeps appends that have stored their entries, which can be read and
// followed, from returning until release is called or their context ends.
func (m *Memory) HoldAnswers() (release func()) { return m.hold(&m.faults.answers) }

func (m *Memory) hold(g *gate) (release func()) {
	m.faults.mu.Lock()
	defer m.faults.mu.Unlock()
	held := make(gate)
	*g = held
	return sync.OnceFunc(func() {
		m.faults.mu.Lock()
		defer m.faults.mu.Unlock()
		if *g == held {
			*g = nil
		}
		close(held)
	})
}

func (f *faults) beforeAppend(ctx context.Context) error {
	if err := f.pass(ctx, &f.appends); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return fmt.Errorf("%w: %w", room.ErrUnavailable, f.fail)
	}
	if f.conflicts > 0 {
		f.conflicts--
		return room.ErrConflict
	}
	return nil
}

func (f *faults) beforeAnswer(ctx context.Context) error { return f.pass(ctx, &f.answers) }

func (f *faults) beforeRead(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failReads != nil {
		return fmt.Errorf("%w: %w", room.ErrUnavailable, f.failReads)
	}
	return ctx.Err()
}

// pass waits until the gate is open.
func (f *faults) pass(ctx context.Context, g *gate) error {
	f.mu.Lock()
	held := *g
	f.mu.Unlock()
	if held == nil {
		return ctx.Err()
	}
	select {
	case <-held:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
