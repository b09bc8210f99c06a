package jetstream

import (
	"context"
	"sync"
	"sync/atomic"
)

// proven is how far an embedded server's messages are known to be stored. A server
// shows messages that it could not write through until it is replaced: what it
// shows beyond this counts for nothing before it has acknowledged it.
type proven struct {
	upTo atomic.Uint64 // what it had at its start, and has acknowledged since

	mu       sync.Mutex
	underWay int           // appends
	ended    chan struct{} // closed when one ends; nil: nobody waits
}

// begin notes that an append is under way.
func (p *proven) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.underWay++
}

// end notes that one has ended. Last is the last sequence that the server has
// acknowledged, and so all before it, which it writes in order; 0 where it has not.
func (p *proven) end(last uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.underWay--
	p.upTo.Store(max(p.upTo.Load(), last))
	if p.ended != nil {
		close(p.ended)
		p.ended = nil
	}
}

// stands says whether what the server shows up to a sequence has been acknowledged,
// waiting for the appends under way. False is for good: only another server, on what
// the disk has, can tell.
func (p *proven) stands(ctx context.Context, sequence uint64) (bool, error) {
	for p.upTo.Load() < sequence {
		ended := p.wait()
		if ended == nil {
			return p.upTo.Load() >= sequence, nil
		}
		select {
		case <-ended:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	return true, nil
}

// wait returns what is closed when an append ends, nil where none is under way.
func (p *proven) wait() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.underWay == 0 {
		return nil
	}
	if p.ended == nil {
		p.ended = make(chan struct{})
	}
	return p.ended
}
