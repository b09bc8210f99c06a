package auth

import (
	"context"
	"crypto/subtle"
	"crypto/x509"
	"strings"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"securechat/certs"
)

// authenticate establishes who calls method. A method that is not in the policy
// is treated as one that asks for everything: strangers learn nothing of what
// exists.
func (g *Guard) authenticate(ctx context.Context, method string) (context.Context, error) {
	now := g.config.Now()
	id, err := g.certificate(ctx, now)
	if err != nil {
		return nil, err
	}
	if (*g.policy.Load())[method].certificateOnly {
		if err := CheckName(id.User); err != nil {
			return nil, Refuse(CertificateInvalid, err)
		}
		return NewContext(ctx, id), nil
	}
	raw, err := bearer(ctx)
	if err != nil {
		return nil, err
	}
	claims, err := g.config.Tokens.Verify(ctx, raw)
	if err != nil {
		return nil, err
	}
	if err := g.bound(id, claims); err != nil {
		return nil, err
	}
	id = id.with(claims)
	if refusal := revoked(g.config.Certificates.Material().Revocations(), id); refusal != nil {
		return nil, refusal
	}
	return NewContext(ctx, id), nil
}

// certificate returns the identity that the peer's certificate alone gives. The
// handshake has verified the chain; roots, revocations and the clock may have
// moved on since, so the chain is held against those of now.
func (g *Guard) certificate(ctx context.Context, now time.Time) (Identity, error) {
	chains := verifiedChains(ctx)
	if len(chains) == 0 {
		return Identity{}, Refusef(CertificateMissing, "the connection has no verified client certificate")
	}
	leaf := chains[0][0]
	until, err := standing(g.config.Certificates.Material(), chains, now)
	if err != nil {
		return Identity{}, refuseCertificate(err)
	}
	if err := certs.CheckClient(leaf); err != nil {
		return Identity{}, refuseCertificate(err)
	}
	name, err := certs.Identify(leaf, g.config.Identity, g.config.TrustDomain)
	if err != nil {
		return Identity{}, Refuse(CertificateInvalid, err)
	}
	return Identity{
		User:        name.User,
		Certificate: name,
		Thumbprint:  certs.Thumbprint(leaf),
		Expires:     until,
		ExpiresBy:   CertificateExpired,
	}, nil
}

// verifiedChains returns the peer's chains as TLS verified them, or none.
func verifiedChains(ctx context.Context) [][]*x509.Certificate {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 || len(info.State.VerifiedChains[0]) == 0 {
		return nil
	}
	return info.State.VerifiedChains
}

func refuseCertificate(err error) *Refusal {
	reason, ok := CertificateReason(err)
	if !ok {
		reason = CertificateInvalid
	}
	return Refuse(reason, err)
}

// CertificateReason is the reason that goes with what is wrong with a
// certificate, and whether err says that anything is (see certs.ProblemOf).
func CertificateReason(err error) (Reason, bool) {
	problem, ok := certs.ProblemOf(err)
	if !ok {
		return "", false
	}
	switch problem {
	case certs.Missing:
		return CertificateMissing, true
	case certs.Untrusted:
		return CertificateUntrusted, true
	case certs.Expired:
		return CertificateExpired, true
	case certs.Revoked:
		return CertificateRevoked, true
	default:
		return CertificateInvalid, true
	}
}

// bearer returns the token of the call's one authorization value (RFC 6750
// section 2.1).
func bearer(ctx context.Context) (string, error) {
	values := metadata.ValueFromIncomingContext(ctx, "authorization")
	switch {
	case len(values) == 0:
		return "", Refusef(TokenMissing, "the call has no authorization metadata")
	case len(values) > 1:
		return "", Refusef(TokenAmbiguous, "the call has %d authorization values", len(values))
	}
	scheme, token, found := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", Refusef(TokenScheme, "the authorization scheme is not Bearer")
	}
	if !found || token == "" {
		return "", Refusef(TokenMissing, "the authorization value has no token")
	}
	return token, nil
}

// bound holds the token against the certificate it came with.
func (g *Guard) bound(id Identity, claims *Claims) error {
	if claims.Confirmation != nil {
		if subtle.ConstantTimeCompare(claims.Confirmation[:], id.Thumbprint[:]) != 1 {
			return Refusef(TokenBinding, "the token of %q is bound to another certificate than that of %q", claims.Subject, id.Certificate.Value)
		}
	} else if g.config.Bind == BindCertificate {
		return Refusef(TokenUnbound, "the token of %q has no cnf x5t#S256", claims.Subject)
	}
	// A URI names a user of ours. Names of other kinds are whatever a foreign
	// CA chose, and say who is calling only where the operator has said so.
	namesUser := id.Certificate.Kind == certs.URI || g.config.Bind == BindSubject
	if namesUser && claims.Subject != id.Certificate.User {
		return Refusef(TokenBinding, "the token's subject is %q, the certificate's user %q", claims.Subject, id.Certificate.User)
	}
	return nil
}

func revoked(revocations *certs.Revocations, id Identity) *Refusal {
	if id.TokenID != "" && revocations.Token(id.TokenID) {
		return Refusef(TokenRevoked, "the token %.100q is on the revocations list", id.TokenID)
	}
	if revocations.Subject(id.User, id.IssuedAt) {
		return Refusef(TokenRevoked, "the subject %q is on the revocations list", id.User)
	}
	return nil
}

// with adds to the certificate's identity what the token says.
func (id Identity) with(claims *Claims) Identity {
	id.User = claims.Subject
	id.Issuer = claims.Issuer
	id.TokenID = claims.ID
	id.KeyID = claims.KeyID
	id.IssuedAt = claims.IssuedAt
	id.Scopes = claims.Scopes
	id.Rooms = claims.Rooms
	id.key = claims.key
	if claims.Expires.Before(id.Expires) {
		id.Expires, id.ExpiresBy = claims.Expires, TokenExpired
	}
	return id
}
