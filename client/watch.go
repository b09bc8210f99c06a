package client

import (
	"context"
	"sync"
	"sync/atomic"
)

// A watch ends a stream when the context of the call that is under way ends.
// Registering with a context costs more than a message does, so a watch stays
// with one as long as calls come with the same, or with ones derived from it
// that end no sooner.
//
// begin and end belong to one goroutine; release may be called from any.
type watch struct {
	cancel context.CancelCauseFunc // of the stream

	done <-chan struct{} // of the context that is watched; nil: none
	call *atomic.Bool    // a call with that context is under way

	mu       sync.Mutex
	stop     func() bool
	released bool
}

// begin returns the context's error where it has ended already, and otherwise
// ends the stream if it ends before the call of end.
func (w *watch) begin(ctx context.Context) error {
	done := ctx.Done()
	if done != w.done {
		w.follow(ctx, done)
	}
	if done == nil {
		return nil
	}
	if ctx.Err() != nil { // though what watches it may not have seen that yet
		return context.Cause(ctx)
	}
	// In this order: a context that ends between the two is seen here, and one
	// that ends later finds the call under way.
	w.call.Store(true)
	if ctx.Err() != nil {
		w.call.Store(false)
		return context.Cause(ctx)
	}
	return nil
}

func (w *watch) end() {
	if w.done != nil {
		w.call.Store(false)
	}
}

func (w *watch) follow(ctx context.Context, done <-chan struct{}) {
	w.release(false)
	w.done = done
	if done == nil {
		return
	}
	call := new(atomic.Bool)
	w.call = call
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.released {
		return
	}
	w.stop = context.AfterFunc(ctx, func() {
		if call.Load() {
			w.cancel(context.Cause(ctx))
		}
	})
}

// release lets go of the context, for good if the stream has ended.
func (w *watch) release(forGood bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stop != nil {
		w.stop()
		w.stop = nil
	}
	w.released = w.released || forGood
}
