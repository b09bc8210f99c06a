package auth

import (
	"math/rand/v2"
	"sync"
	"time"

	"securechat/certs"
)

// sweepEvery is how often live sessions are looked at. A tick reads the clock
// anew, so that a process that was stopped, or whose clock was set, catches up
// with the first tick after it.
const sweepEvery = 100 * time.Millisecond

// A supervisor holds the live sessions of a guard and ends those whose authority
// has ended. While there are any, one goroutine looks at them; nothing is spent
// on a session between the ticks, and on a tick in which nothing has changed and
// nothing has expired it is one comparison for all of them.
type supervisor struct {
	guard *Guard

	mu       sync.Mutex
	live     map[*session]struct{}
	next     uint64
	sweeping bool
	draining *Refusal // what new sessions are told; nil: they may begin

	// Of the sweep; guarded by mu.
	earliest time.Time // no session expires before; zero: not known
	seen     feeds     // what the sessions were last held against
}

// feeds are what an authority rests on, as far as it may change under it.
type feeds struct {
	material *certs.Material
	policy   *Policy
	keys     uint64
}

func (g *Guard) feeds() feeds {
	now := feeds{material: g.config.Certificates.Material(), policy: g.policy.Load()}
	if keys, ok := g.config.Tokens.(keyHolder); ok {
		now.keys = keys.version()
	}
	return now
}

// begin takes a session up, or says why it may not begin. What it rests on may
// have changed since it was authenticated, so it is held against that once more
// when a change can no longer be missed.
func (s *supervisor) begin(session *session) *Refusal {
	s.mu.Lock()
	if s.draining != nil {
		defer s.mu.Unlock()
		return s.draining
	}
	s.next++
	session.id = s.next
	s.live[session] = struct{}{}
	s.earliest = time.Time{}
	if !s.sweeping {
		s.sweeping = true
		s.guard.running.Go(s.sweep)
	}
	s.mu.Unlock()
	if refusal := s.guard.stands(session, s.guard.config.Now()); refusal != nil {
		s.leave(session)
		return refusal
	}
	return nil
}

func (s *supervisor) leave(session *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.live, session)
}

// sweep runs while there are sessions.
func (s *supervisor) sweep() {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for range ticker.C {
		if !s.tick() {
			return
		}
	}
}

// tick ends the sessions whose authority has ended. It returns false when there
// is none to look after; the next to begin starts another sweep.
func (s *supervisor) tick() bool {
	now := s.guard.config.Now()
	current := s.guard.feeds()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.live) == 0 {
		s.sweeping = false
		return false
	}
	changed := current != s.seen
	s.seen = current
	if !changed && !s.earliest.IsZero() && now.Before(s.earliest) {
		return true
	}
	s.earliest = time.Time{}
	for session := range s.live {
		expires := session.expires()
		if changed || !now.Before(expires) {
			if refusal := s.guard.stands(session, now); refusal != nil {
				session.end(refusal)
				continue
			}
		}
		if s.earliest.IsZero() || expires.Before(s.earliest) {
			s.earliest = expires
		}
	}
	return true
}

// refreshed has the next tick look at every session's expiry anew.
func (s *supervisor) refreshed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.earliest = time.Time{}
}

func (s *supervisor) sessions() []*session {
	s.mu.Lock()
	defer s.mu.Unlock()
	live := make([]*session, 0, len(s.live))
	for session := range s.live {
		live = append(live, session)
	}
	return live
}

// refuse has every session that wants to begin from now on refused.
func (s *supervisor) refuse(r *Refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining = r
}

// spread returns the live sessions in an order that favours nobody.
func (s *supervisor) spread() []*session {
	live := s.sessions()
	rand.Shuffle(len(live), func(i, j int) { live[i], live[j] = live[j], live[i] })
	return live
}
