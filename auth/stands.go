package auth

import (
	"crypto"
	"time"
)

// A keyHolder knows whether the key that has verified a token is still its
// issuer's. *Verifier is one.
type keyHolder interface {
	holds(issuer, kid string, key crypto.PublicKey) bool
	// version changes whenever an answer of holds may have.
	version() uint64
}

// stands says why a live session may not go on at now; nil where it may. It
// asks what authenticate and authorise have asked, of what holds today.
func (g *Guard) stands(s *session, now time.Time) *Refusal {
	id := *s.authority.identity.Load()
	if !s.last.IsZero() && !now.Before(s.last) {
		return Refusef(SessionExpired, "the longest session, of %v, ended at %s", g.config.MaxSession, s.last.UTC().Format(time.RFC3339))
	}
	if !now.Before(id.Expires) {
		return expired(id)
	}
	material := g.config.Certificates.Material()
	if err := material.Check(s.chains, now); err != nil {
		return refuseCertificate(err)
	}
	if id.Issuer == "" {
		return nil // a certificate alone
	}
	if refusal := revoked(material.Revocations(), id); refusal != nil {
		return refusal
	}
	if keys, ok := g.config.Tokens.(keyHolder); ok && !keys.holds(id.Issuer, id.KeyID, id.key) {
		return Refusef(TokenKeyRetired, "the key %.100q has left the key set of %.100q", id.KeyID, id.Issuer)
	}
	return g.allowed(s, id)
}

// allowed holds a live session against the policy of today.
func (g *Guard) allowed(s *session, id Identity) *Refusal {
	rule, listed := (*g.policy.Load())[s.method]
	if !listed {
		return Refusef(MethodDenied, "the policy has no rule for %.200q any more", s.method)
	}
	return rule.allow(s.ctx, id)
}

func expired(id Identity) *Refusal {
	return Refusef(id.ExpiresBy, "the authority of %q ended at %s", id.User, id.Expires.UTC().Format(time.RFC3339))
}
