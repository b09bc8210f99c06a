package jetstream

import (
	"context"
	"sync"
)

// connection ends what waits for an answer over a connection when that is lost, or
// nobody is there any more to answer. The zero value is of one that is not watched.
type connection struct {
	mu   sync.Mutex
	ctx  context.Context // ends with what is waited for now
	fail context.CancelCauseFunc
}

// lost is called each time that what is waited for will not come.
func (c *connection) lost(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fail != nil {
		c.fail(cause)
	}
	c.ctx, c.fail = nil, nil
}

// while returns a context that ends with ctx, or when what is waited for is lost.
func (c *connection) while(ctx context.Context) (context.Context, func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx == nil {
		c.ctx, c.fail = context.WithCancelCause(context.Background())
	}
	ctx, cancel := context.WithCancelCause(ctx)
	now := c.ctx
	stop := context.AfterFunc(now, func() { cancel(context.Cause(now)) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}
