package client

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

// A lateContext has ended, and those who watch it learn of that only while somebody
// asks how.
type lateContext struct {
	context.Context
	done  chan struct{}
	ended bool
	tell  func()
}

func (c *lateContext) Done() <-chan struct{} { return c.done }

func (c *lateContext) Err() error {
	if !c.ended {
		return nil
	}
	if tell := c.tell; tell != nil {
		c.tell = nil
		tell()
		synctest.Wait()
	}
	return context.Canceled
}

func (c *lateContext) AfterFunc(f func()) (stop func() bool) {
	c.tell = f
	return func() bool { return false }
}

// A context that has ended before the call leaves the stream as it was, though what
// watches it is told only during the call.
func TestWatchToldLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := &lateContext{Context: context.Background(), done: make(chan struct{})}
		w := watch{cancel: func(error) { t.Error("the stream is ended") }}
		must(t, w.begin(ctx))
		w.end()
		ctx.ended = true
		close(ctx.done)
		if err := w.begin(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if ctx.tell != nil {
			t.Error("nobody has been told")
		}
	})
}
