package room

import "sync"

// Shared has a place for what those who hand an event on have made of it, so that
// one of them makes it for all. It keeps that as long as the room keeps the event.
type Shared struct {
	once  sync.Once
	value any
}

// Get returns what make returned when it was called first, by whomever: all who
// share an event must make the same of it. It may be called concurrently.
func (s *Shared) Get(make func() any) any {
	s.once.Do(func() { s.value = make() })
	return s.value
}
