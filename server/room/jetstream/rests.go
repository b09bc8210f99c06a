package jetstream

import (
	"context"
	"sync"

	"github.com/nats-io/nats.go"
)

// answer is one that the server sends in several messages. Of one goroutine at a time.
type answer struct {
	messages *nats.Subscription
	ended    bool // there are no more
}

// next waits for the next message; the last one has no data.
func (a *answer) next(ctx context.Context) (*nats.Msg, error) {
	message, err := a.messages.NextMsgWithContext(ctx)
	if err != nil {
		a.ended = ctx.Err() == nil
		return nil, err
	}
	a.ended = len(message.Data) == 0
	return message, nil
}

func (a *answer) drop() { _ = a.messages.Unsubscribe() } // fails only once the connection is closed

// rests waits for the rests of answers that nobody waits for any more: the server goes
// on sending them, and as long as it does it must be asked for no more in their place,
// or who asks and goes away again and again would have it all.
type rests struct {
	mu     sync.Mutex
	closed bool
	all    sync.WaitGroup
}

// take waits for the rest of an answer, if it has one, until the context ends, and calls
// done. The wait is a goroutine's, which close waits for.
func (r *rests) take(ctx context.Context, a *answer, done func()) {
	over := func() {
		a.drop()
		done()
	}
	if a.ended || !r.begin(func() {
		defer over()
		for !a.ended && ctx.Err() == nil {
			_, _ = a.next(ctx)
		}
	}) {
		over()
	}
}

func (r *rests) begin(wait func()) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.all.Go(wait)
	}
	return !r.closed
}

// close waits until all have ended, as they do once their connection has.
func (r *rests) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.all.Wait()
}
