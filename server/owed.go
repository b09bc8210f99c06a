package server

import (
	"slices"
	"sync"
	"time"
)

// A debt is a message that has been accepted and not been acknowledged.
type debt struct {
	messageSpan
	release  func()    // lets a drain end the stream
	received time.Time // zero: not measured
}

func (d *debt) end() {
	d.messageSpan.end()
	d.release()
}

// owed are a stream's debts, the oldest first. The hub bounds how many there are.
// They are made on one goroutine and paid on another.
type owed struct {
	mu       sync.Mutex
	debts    []debt
	settling bool
	empty    chan struct{} // closed when the last is paid after settle was called
}

func (o *owed) add(d debt) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.debts = append(o.debts, d)
}

// first returns the oldest debt, which stays until it is paid.
func (o *owed) first() debt {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.debts) == 0 {
		return debt{}
	}
	return o.debts[0]
}

// paid strikes the oldest debt out.
func (o *owed) paid() {
	o.mu.Lock()
	if len(o.debts) == 0 {
		o.mu.Unlock()
		return
	}
	paid := o.debts[0]
	o.debts = slices.Delete(o.debts, 0, 1)
	o.closeIfEmpty()
	o.mu.Unlock()
	paid.end() // which may end the stream: not under the lock
}

// struck strikes out the newest debt, whose message the hub has not taken. It is
// for the goroutine that adds, so that the newest is its own.
func (o *owed) struck() {
	o.mu.Lock()
	last := len(o.debts) - 1
	if last < 0 {
		o.mu.Unlock()
		return
	}
	struck := o.debts[last]
	o.debts = slices.Delete(o.debts, last, last+1)
	o.mu.Unlock()
	struck.end() // which may end the stream: not under the lock
}

// settle returns a channel that is closed once nothing is owed. It is called once,
// when nothing is added any more.
func (o *owed) settle() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.settling = true
	o.closeIfEmpty()
	return o.empty
}

func (o *owed) closeIfEmpty() {
	if o.settling && len(o.debts) == 0 {
		close(o.empty)
	}
}

// forget ends what will not be paid any more.
func (o *owed) forget() {
	o.mu.Lock()
	debts := o.debts
	o.debts = nil
	o.mu.Unlock()
	for i := range debts {
		debts[i].end()
	}
}
