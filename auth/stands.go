package auth

import (
	"crypto"
	"crypto/x509"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"securechat/certs"
)

// A keyHolder knows why the key that has verified a token is not its issuer's any
// more; nil where it is. *Verifier is one.
type keyHolder interface {
	keyStands(issuer, kid string, key crypto.PublicKey) *Refusal
	// version changes whenever an answer of keyStands may have.
	version() uint64
}

// stands says why a live session may not go on at now; nil where it may. It
// asks what authenticate and authorise have asked, of what holds today.
func (g *Guard) stands(s *session, now time.Time) *Refusal {
	id := *s.authority.identity.Load()
	if past(s.last, now) {
		return Refusef(SessionExpired, "the longest session, of %v, ended at %s", g.config.MaxSession, s.last.UTC().Format(time.RFC3339))
	}
	if !now.Before(id.Expires) {
		return expired(id)
	}
	material := g.config.Certificates.Material()
	// What had begun when the stream did has begun, wherever the clock is set.
	if wall := s.started.Round(0); now.Before(wall) {
		now = wall
	}
	until, err := standing(material, s.chains, now)
	if err != nil {
		return refuseCertificate(err)
	}
	s.chainEnd.Store(until.UnixNano())
	if id.Issuer != "" {
		if refusal := revoked(material.Revocations(), id); refusal != nil {
			return refusal
		}
		if keys, ok := g.config.Tokens.(keyHolder); ok {
			if refusal := keys.keyStands(id.Issuer, id.KeyID, id.key); refusal != nil {
				return refusal
			}
		}
	}
	return g.allowed(s, id)
}

// standsNow says whether a live session may go on, and ends it where it may not.
func (g *Guard) standsNow(s *session) bool {
	refusal := g.stands(s, g.config.Now())
	if refusal != nil {
		s.stream.end(refusal)
	}
	return refusal == nil
}

// standing returns when the last of the chains that stand at now ends; see
// certs.Material.StandsUntil. An end that lies beyond what fits is cut to that.
func standing(material *certs.Material, chains [][]*x509.Certificate, now time.Time) (time.Time, error) {
	until, err := material.StandsUntil(chains, now)
	if until.After(endOfTime) {
		until = endOfTime
	}
	return until, err
}

// endOfTime is about the last that UnixNano can tell.
var endOfTime = time.Date(2262, 1, 1, 0, 0, 0, 0, time.UTC)

// allowed holds a live session against the policy of today. One that is not to be
// in its room any more is expelled from it. A check that panics refuses.
func (g *Guard) allowed(s *session, id Identity) (refusal *Refusal) {
	defer func() {
		if value := recover(); value != nil {
			g.logPanic("a check of the policy panicked on a live stream", s.method, &HandlerPanic{Value: value, Stack: debug.Stack()})
			refusal = Refusef(Internal, "a check of the policy panicked: %v", value)
		}
	}()
	rule, listed := (*g.policy.Load())[s.method]
	if !listed {
		return Refusef(MethodDenied, "the policy has no rule for %.200q any more", s.method)
	}
	if id.Issuer == "" && !rule.certificateOnly {
		return Refusef(TokenMissing, "the policy asks for a token now, and the stream began without")
	}
	refusal = rule.allow(s.ctx, id)
	if refusal != nil && refusal.Reason == RoomDenied {
		return Refuse(Expelled, refusal) // it has been there
	}
	return refusal
}

func expired(id Identity) *Refusal {
	return Refusef(id.ExpiresBy, "the authority of %q ended at %s", id.User, id.Expires.UTC().Format(time.RFC3339))
}

func (g *Guard) logPanic(text, method string, p *HandlerPanic) {
	g.config.Log.Error(text, slog.String("method", method), slog.String("panic", fmt.Sprint(p.Value)), slog.String("stack", string(p.Stack)))
}
