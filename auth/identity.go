package auth

import (
	"context"
	"crypto"
	"slices"
	"time"

	"securechat/certs"
)

// An Identity is a caller whose certificate and token have been verified and
// belong together. It is a value: copies are independent but for Scopes and
// Rooms, which must not be written to.
type Identity struct {
	// User is the verified name: the token's subject, or for a method that asks
	// for a certificate alone, the user the certificate names.
	User string
	// Certificate is the one identity in the presented leaf.
	Certificate certs.Name
	// Thumbprint is the SHA-256 of the presented leaf (RFC 8705, x5t#S256).
	Thumbprint [32]byte
	// Issuer, TokenID (jti) and KeyID (kid) are the token's. All are empty
	// where the method asks for a certificate alone.
	Issuer  string
	TokenID string
	KeyID   string
	// IssuedAt is when the token was issued; zero where it does not say.
	IssuedAt time.Time
	// Scopes and Rooms are what the token grants. Rooms are globs, of which
	// MayOpen knows the meaning.
	Scopes []string
	Rooms  []string
	// Expires is when this authority ends: the earlier of the token's expiry
	// and the first expiry in the verified certificate chain.
	Expires time.Time
	// ExpiresBy says which of the two that is: TokenExpired or CertificateExpired.
	ExpiresBy Reason

	key crypto.PublicKey // that verified the token
}

// HasScope says whether the token grants scope.
func (id Identity) HasScope(scope string) bool { return slices.Contains(id.Scopes, scope) }

type authorityKey struct{}

// FromContext returns the caller of the running call, and whether one has been
// verified. It is what handlers behind a Guard ask. In a stream whose token is
// refreshed it returns what the latest token gives.
func FromContext(ctx context.Context) (Identity, bool) {
	authority, ok := authorityOf(ctx)
	if !ok {
		return Identity{}, false
	}
	return *authority.identity.Load(), true
}

// NewContext returns a context in which id is the verified caller. A Guard does
// this for every call it admits; tests of handlers do it in its place.
func NewContext(ctx context.Context, id Identity) context.Context {
	return context.WithValue(ctx, authorityKey{}, newAuthority(id))
}

func authorityOf(ctx context.Context) (*authority, bool) {
	authority, ok := ctx.Value(authorityKey{}).(*authority)
	return authority, ok
}
