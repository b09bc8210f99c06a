package jetstream

import "time"

// Hurry has calls give up, and answers be waited for, sooner than otherwise. It comes
// before any other use.
func (l *Shared) Hurry(patience, answer time.Duration) {
	l.patience, l.stream.answer = patience, answer
}
