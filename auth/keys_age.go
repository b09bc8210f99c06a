package auth

import (
	"context"
	"errors"
	"time"

	"securechat/certs"
)

// remindEvery is how often the log says again that keys are too old.
const remindEvery = time.Hour

var errNoAnswer = errors.New("the fetch has not ended")

// State is what has become of the fetches. The set expires when it is too old,
// whether or not it serves on then.
func (s *KeyURLSource) State() certs.FeedState {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := certs.FeedState{Name: keyFeedName, Loaded: s.fresh, Good: s.good, Broken: s.broken}
	if !s.fresh.IsZero() {
		state.Expires = s.fresh.Add(s.maxAge)
	}
	return state
}

// grow watches how old the keys become. It does so beside the fetches, one of
// which may take long.
func (s *KeyURLSource) grow(ctx context.Context) {
	timer := time.NewTimer(s.maxAge)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.renewed:
		case <-timer.C:
		}
		timer.Reset(s.look())
	}
}

// look does what is due when the keys are too old, and returns when to look again.
func (s *KeyURLSource) look() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	age := time.Since(s.fresh)
	switch {
	case s.fresh.IsZero():
		return s.maxAge // there is nothing yet that could be too old
	case age < s.maxAge:
		return s.maxAge - age
	}
	failure := s.failure
	if failure == nil {
		failure = errNoAnswer
	}
	if !s.strict {
		s.logger.Warn("token keys are too old: they serve on; find out why they cannot be fetched", "url", s.name, "age", age, "error", failure)
		return remindEvery
	}
	s.logger.Error("token keys are too old: their tokens are refused; find out why they cannot be fetched", "url", s.name, "age", age, "error", failure)
	if s.withheld == nil {
		s.withheld = Refusef(KeysUnavailable, "%s: the keys were last fetched %v ago, more than %v: %w", s.name, age.Round(time.Second), s.maxAge, failure).
			After(max(time.Until(s.next), minKeyRetry))
		s.tell()
	}
	return remindEvery
}
