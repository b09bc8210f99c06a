package jetstream

import "time"

// Hurry has calls give up, and answers be waited for, sooner or later than otherwise, until
// rest is called. Nothing else may be under way at either.
func (l *Shared) Hurry(patience, answer time.Duration) (rest func()) {
	patient, answering := l.patience, l.stream.answer
	l.patience, l.stream.answer = patience, answer
	return func() { l.patience, l.stream.answer = patient, answering }
}
