package auth

import (
	"cmp"
	"context"
	"crypto/x509"
	"maps"
	"slices"
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
// on a session between the ticks, and a tick in which nothing has changed and
// nothing is due is two comparisons for all of them.
type supervisor struct {
	guard *Guard

	mu       sync.Mutex
	changed  *sync.Cond // on mu: a session has left, or what was running has ended
	live     sessionSet
	shared   map[connectionKey]sessionSet // the same, by connection
	next     uint64
	sweeping bool
	running  int      // handlers, and the sweep
	draining *Refusal // what new sessions are told; nil: they may begin

	// Of the sweep; guarded by mu.
	due  due
	seen feeds // what the sessions were last held against
}

type sessionSet map[*session]struct{}

func newSupervisor(g *Guard) *supervisor {
	s := &supervisor{guard: g, live: make(sessionSet), shared: make(map[connectionKey]sessionSet)}
	s.changed = sync.NewCond(&s.mu)
	return s
}

// due is the earliest that any session ends by itself. Expiries are times of the
// wall clock and the ends of longest sessions are elapsed time, so that setting
// the clock changes which of them comes first: each is kept for itself.
type due struct {
	known         bool
	expires, last time.Time // zero: none
}

func (d *due) add(s *session) {
	if expires := s.expires(); d.expires.IsZero() || expires.Before(d.expires) {
		d.expires = expires
	}
	if !s.last.IsZero() && (d.last.IsZero() || s.last.Before(d.last)) {
		d.last = s.last
	}
}

func (d *due) at(now time.Time) bool {
	return !d.known || past(d.expires, now) || past(d.last, now)
}

func past(end, now time.Time) bool { return !end.IsZero() && !now.Before(end) }

// feeds are what an authority rests on, as far as it may change under it.
type feeds struct {
	material *certs.Material
	stale    int // revocation lists that are past their nextUpdate
	policy   *Policy
	keys     uint64
}

func (g *Guard) feeds(now time.Time) feeds {
	f := feeds{material: g.config.Certificates.Material(), policy: g.policy.Load()}
	f.stale = len(f.material.Revocations().Stale(now))
	if keys, ok := g.config.Tokens.(keyHolder); ok {
		f.keys = keys.version()
	}
	return f
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
	s.enlist(session)
	if !s.sweeping {
		s.sweeping = true
		s.running++
		go s.sweep()
	}
	s.mu.Unlock()
	if refusal := s.guard.stands(session, s.guard.config.Now()); refusal != nil {
		s.leave(session)
		return refusal
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.due.add(session)
	return nil
}

// enlist needs mu; leave is its opposite.
func (s *supervisor) enlist(session *session) {
	s.live[session] = struct{}{}
	key := connectionOf(session.chains)
	if s.shared[key] == nil {
		s.shared[key] = make(sessionSet, 1)
	}
	s.shared[key][session] = struct{}{}
}

func (s *supervisor) leave(session *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.live, session)
	key := connectionOf(session.chains)
	if delete(s.shared[key], session); len(s.shared[key]) == 0 {
		delete(s.shared, key)
	}
	s.changed.Broadcast()
}

// start runs f on a goroutine that wait waits for.
func (s *supervisor) start(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running++
	go func() {
		defer s.ended()
		f()
	}()
}

func (s *supervisor) ended() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
	s.changed.Broadcast()
}

func (s *supervisor) wait() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.running > 0 {
		s.changed.Wait()
	}
}

// gone waits until those sessions have left, or ctx ends.
func (s *supervisor) gone(ctx context.Context, sessions []*session) {
	stop := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.changed.Broadcast()
	})
	defer stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, session := range sessions {
		for ctx.Err() == nil && has(s.live, session) {
			s.changed.Wait()
		}
	}
}

func has[K comparable](set map[K]struct{}, key K) bool {
	_, ok := set[key]
	return ok
}

// sweep runs while there are sessions. The next to begin starts another.
func (s *supervisor) sweep() {
	defer s.ended()
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for range ticker.C {
		now := s.guard.config.Now()
		suspects, more := s.suspects(now, s.guard.feeds(now))
		for _, session := range suspects {
			if refusal := s.guard.stands(session, now); refusal != nil {
				session.stream.end(refusal)
			}
		}
		if len(suspects) > 0 {
			s.reckon()
		}
		if !more {
			return
		}
	}
}

// suspects returns the sessions to be held against what holds now: all when a
// feed has changed, otherwise those that are due. more is false when there are
// no sessions, and the sweep must end.
func (s *supervisor) suspects(now time.Time, current feeds) (suspects []*session, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.live) == 0 {
		s.sweeping = false
		s.due = due{}
		return nil, false
	}
	changed := current != s.seen
	s.seen = current
	if !changed && !s.due.at(now) {
		return nil, true
	}
	s.due = due{known: true}
	for session := range s.live {
		s.due.add(session)
		if changed || past(session.expires(), now) || past(session.last, now) {
			suspects = append(suspects, session)
		}
	}
	return suspects, true
}

// reckon has the next tick find out anew when the first session is due: a
// refresh or another chain may have moved its end either way.
func (s *supervisor) reckon() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.due.known = false
}

// sessions returns those that are live, the oldest first.
func (s *supervisor) sessions() []*session {
	s.mu.Lock()
	live := make([]*session, 0, len(s.live))
	for session := range s.live {
		live = append(live, session)
	}
	s.mu.Unlock()
	slices.SortFunc(live, func(a, b *session) int { return cmp.Compare(a.id, b.id) })
	return live
}

// on returns those that are live on the connection with those chains. It takes no
// longer for those on others: whoever asks is a client, and may ask often.
func (s *supervisor) on(chains [][]*x509.Certificate) []*session {
	key := connectionOf(chains)
	if key == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.shared[key]))
}

// refuse has every session that wants to begin from now on refused, and returns
// those that had begun.
func (s *supervisor) refuse(r *Refusal) []*session {
	s.mu.Lock()
	s.draining = r
	s.mu.Unlock()
	return s.sessions()
}
