package auth

import (
	"context"
	"crypto/x509"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/peer"
)

// A session is one live stream and the authority on which it lives.
type session struct {
	// Set when it begins.
	id      uint64
	ctx     context.Context
	method  string
	peer    string
	started time.Time
	chains  [][]*x509.Certificate
	last    time.Time // no refresh makes it live longer; zero: no such time
	replies bool      // its client sends once and only listens from then on

	authority *authority // what it holds is replaced by a refresh
	stream    *supervisedStream
	abandoned atomic.Bool // nobody waits for the handler any more
	// chainEnd is when the last of the chains that today's roots vouch for ends,
	// in Unix nanoseconds.
	chainEnd atomic.Int64
}

// authority is the current identity of a caller. What a context has is a pointer
// to it, so that whoever asks the context sees a refresh at once.
type authority struct{ identity atomic.Pointer[Identity] }

func newAuthority(id Identity) *authority {
	a := &authority{}
	a.identity.Store(&id)
	return a
}

// expires is when the authority ends by the wall clock if nothing else happens.
func (s *session) expires() time.Time {
	until := s.authority.identity.Load().Expires
	if end := time.Unix(0, s.chainEnd.Load()); end.Before(until) {
		return end
	}
	return until
}

// ends is the earlier of expires and the longest session's end.
func (s *session) ends() time.Time {
	until := s.expires()
	if !s.last.IsZero() && s.last.Before(until) {
		return s.last
	}
	return until
}

// Expires returns when the running stream ends if its token is not refreshed, and
// whether it is a supervised one. It may be asked behind Supervise.
func Expires(ctx context.Context) (time.Time, bool) {
	stream, ok := ctx.Value(supervisedKey{}).(*supervisedStream)
	if !ok || stream.session == nil {
		return time.Time{}, false
	}
	return stream.session.ends(), true
}

// A connectionKey tells connections apart: TLS verifies the chains of each once, so
// that calls over one share the slice and not only what is in it. It is nil where
// there are no chains.
type connectionKey *[]*x509.Certificate

func connectionOf(chains [][]*x509.Certificate) connectionKey {
	if len(chains) == 0 {
		return nil
	}
	return &chains[0]
}

// A Session is what an operator may know of a live stream.
type Session struct {
	// ID names the session to End, while the process lives.
	ID string `json:"id"`
	// User is the verified caller, Certificate the identity in its certificate.
	User        string `json:"user"`
	Certificate string `json:"certificate"`
	// Method is the stream's, and Peer the address that it came from.
	Method string `json:"method"`
	Peer   string `json:"peer"`
	// Started is when the stream was admitted, Expires when it ends unless its
	// token is refreshed.
	Started time.Time `json:"started"`
	Expires time.Time `json:"expires"`
}

// Sessions returns the streams that are live now, the oldest first.
func (g *Guard) Sessions() []Session {
	live := g.supervisor.sessions()
	sessions := make([]Session, 0, len(live))
	for _, s := range live {
		id := s.authority.identity.Load()
		sessions = append(sessions, Session{
			ID: s.name(), User: id.User, Certificate: id.Certificate.Value, Method: s.method, Peer: s.peer,
			Started: s.started, Expires: s.ends(),
		})
	}
	return sessions
}

// End ends a live stream with PERMISSION_DENIED, EXPELLED, and says whether
// there was one of that ID.
func (g *Guard) End(id string) bool {
	live := g.supervisor.sessions()
	i := slices.IndexFunc(live, func(s *session) bool { return s.name() == id })
	return i >= 0 && live[i].stream.end(Refusef(Expelled, "an operator ended the session %s", id))
}

func (s *session) name() string { return strconv.FormatUint(s.id, 10) }

func peerAddress(ctx context.Context) string {
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
		return p.Addr.String()
	}
	return ""
}
