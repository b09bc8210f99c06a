package auth

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	defaultMaxLifetime = 24 * time.Hour
	maxLeeway          = 30 * time.Second
)

// An Issuer is one whose tokens are accepted, and on what terms.
type Issuer struct {
	// Name is what the token's iss must be, byte for byte.
	Name string
	// Audience must be among the token's aud, byte for byte.
	Audience string
	// Keys finds this issuer's public keys. Another issuer's are never tried.
	Keys KeySource
	// Algorithms lists the JWS algorithms accepted: EdDSA, ES256, RS256, PS256.
	// Nil is EdDSA and ES256. No other can be listed. EdDSA is with Ed25519 keys
	// alone, and tokens may call it Ed25519 (RFC 9864).
	Algorithms []string
}

// VerifierConfig says which tokens a Verifier accepts.
type VerifierConfig struct {
	// Issuers lists all whose tokens are accepted; at least one.
	Issuers []Issuer
	// MaxLifetime bounds exp − iat, or what is left of the token's life where it
	// has no iat. 0 is 24 hours.
	MaxLifetime time.Duration
	// Leeway is how far nbf and iat may lie ahead of our clock, 30 seconds at
	// most. 0 is 30 seconds. No leeway is ever given on exp.
	Leeway time.Duration
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// A Verifier verifies tokens: compact JWS (RFC 7515) that carry JWT claims
// (RFC 7519), after the practices of RFC 8725. It is safe for concurrent use.
type Verifier struct {
	issuers     map[string]Issuer
	maxLifetime time.Duration
	leeway      time.Duration
	now         func() time.Time
}

// NewVerifier returns the verifier for cfg, or an error that says what in cfg
// cannot be meant.
func NewVerifier(cfg VerifierConfig) (*Verifier, error) {
	v := &Verifier{
		issuers:     make(map[string]Issuer, len(cfg.Issuers)),
		maxLifetime: cfg.MaxLifetime,
		leeway:      cfg.Leeway,
		now:         cfg.Now,
	}
	if len(cfg.Issuers) == 0 {
		return nil, errors.New("token verifier: no issuer is configured: name at least one")
	}
	for _, issuer := range cfg.Issuers {
		if _, twice := v.issuers[issuer.Name]; twice {
			return nil, fmt.Errorf("token verifier: issuer %q is configured twice", issuer.Name)
		}
		if issuer.Algorithms == nil {
			issuer.Algorithms = []string{algorithmEdDSA, algorithmES256}
		}
		if err := issuer.check(); err != nil {
			return nil, fmt.Errorf("token verifier: issuer %q: %w", issuer.Name, err)
		}
		issuer.Algorithms = slices.Clone(issuer.Algorithms)
		v.issuers[issuer.Name] = issuer
	}
	switch {
	case cfg.MaxLifetime < 0:
		return nil, fmt.Errorf("token verifier: the maximum lifetime %v is negative", cfg.MaxLifetime)
	case cfg.MaxLifetime == 0:
		v.maxLifetime = defaultMaxLifetime
	}
	switch {
	case cfg.Leeway < 0 || cfg.Leeway > maxLeeway:
		return nil, fmt.Errorf("token verifier: the leeway %v is not within 0 and %v", cfg.Leeway, maxLeeway)
	case cfg.Leeway == 0:
		v.leeway = maxLeeway
	}
	if v.now == nil {
		v.now = time.Now
	}
	return v, nil
}

func (i Issuer) check() error {
	switch {
	case i.Name == "":
		return errors.New("it has no name: set it to the iss of its tokens")
	case i.Audience == "":
		return errors.New("no audience is configured: set it to the aud of the tokens meant for this service")
	case i.Keys == nil:
		return errors.New("no key source is configured")
	case len(i.Algorithms) == 0:
		return errors.New("no algorithm is accepted: leave the list nil for the default")
	}
	for _, algorithm := range i.Algorithms {
		if !knownAlgorithm(algorithm) {
			return fmt.Errorf("algorithm %q is not one of EdDSA, ES256, RS256 and PS256", algorithm)
		}
	}
	return nil
}

// Verify returns the claims of a token that keeps every rule, and a *Refusal
// otherwise. It may block while the issuer's keys are fetched, until ctx ends.
//
// Nothing of the payload but iss, which selects the keys, is looked at before
// the signature has been verified.
func (v *Verifier) Verify(ctx context.Context, compact string) (*Claims, error) {
	token, err := splitCompact(compact)
	if err != nil {
		return nil, err
	}
	header, err := parseHeader(token.header)
	if err != nil {
		return nil, err
	}
	payload, err := readPayload(token.payload)
	if err != nil {
		return nil, err
	}
	issuer, err := v.issuerOf(payload)
	if err != nil {
		return nil, err
	}
	key, err := issuer.keyFor(ctx, header)
	if err != nil {
		return nil, err
	}
	if err := verifySignature(header.algorithm, key, token.signed, token.signature); err != nil {
		return nil, err
	}
	claims, err := parseClaims(payload)
	if err != nil {
		return nil, err
	}
	claims.Issuer, claims.KeyID, claims.key = issuer.Name, header.keyID, key.Public
	if err := v.checkClaims(claims, issuer); err != nil {
		return nil, err
	}
	return claims, nil
}

func (v *Verifier) issuerOf(payload jsonObject) (Issuer, error) {
	name, err := payload.required("iss")
	if err != nil {
		return Issuer{}, Refusef(TokenMalformed, "claims: %w", err)
	}
	issuer, ok := v.issuers[name]
	if !ok {
		return Issuer{}, Refusef(TokenIssuer, "iss %.100q is not a configured issuer", name)
	}
	return issuer, nil
}

// keyFor returns the issuer's key that the header names, if the issuer may sign
// with that algorithm.
func (i Issuer) keyFor(ctx context.Context, header tokenHeader) (Key, error) {
	if !slices.Contains(i.Algorithms, header.algorithm) {
		return Key{}, Refusef(TokenAlgorithm, "alg %q is not accepted from issuer %.100q", header.algorithm, i.Name)
	}
	key, err := i.Keys.Key(ctx, header.keyID)
	if err != nil {
		var refusal *Refusal
		if errors.As(err, &refusal) {
			return Key{}, refusal
		}
		return Key{}, Refusef(KeysUnavailable, "key %.100q of issuer %.100q: %w", header.keyID, i.Name, err)
	}
	return key, nil
}

// checkClaims holds the claims of a genuine token against the rules.
func (v *Verifier) checkClaims(claims *Claims, issuer Issuer) error {
	if !slices.Contains(claims.Audience, issuer.Audience) {
		return Refusef(TokenAudience, "aud does not contain %.100q", issuer.Audience)
	}
	if err := v.checkTimes(claims); err != nil {
		return err
	}
	if err := CheckName(claims.Subject); err != nil {
		return Refusef(TokenSubject, "sub: %w", err)
	}
	return nil
}

func (v *Verifier) checkTimes(claims *Claims) error {
	now := v.now()
	latest := now.Add(v.leeway)
	began := now
	switch {
	case !claims.Expires.After(now):
		return Refusef(TokenExpired, "exp was %v ago", now.Sub(claims.Expires))
	case claims.NotBefore.After(latest):
		return Refusef(TokenNotYetValid, "nbf is in %v", claims.NotBefore.Sub(now))
	case claims.IssuedAt.After(latest):
		return Refusef(TokenNotYetValid, "iat is in %v", claims.IssuedAt.Sub(now))
	case claims.IssuedAt.After(claims.Expires):
		return Refusef(TokenMalformed, "claims: iat is later than exp")
	case !claims.IssuedAt.IsZero():
		began = claims.IssuedAt
	}
	if lifetime := claims.Expires.Sub(began); lifetime > v.maxLifetime {
		return Refusef(TokenLifetime, "the token lives for %v, more than %v", lifetime, v.maxLifetime)
	}
	return nil
}

// keyStands says why key does not verify tokens of the issuer any more: it is not
// the one called kid of the issuer's set, or the set is too old. It never blocks.
// Of a KeySource that is neither a *KeySet nor a KeyFeed of this package that
// cannot be known, and the key stands.
func (v *Verifier) keyStands(issuer, kid string, key crypto.PublicKey) *Refusal {
	configured, ok := v.issuers[issuer]
	if !ok {
		return Refusef(TokenKeyRetired, "the issuer %.100q is not configured", issuer)
	}
	keys, followed := configured.Keys.(keysHeld)
	if !followed {
		return nil
	}
	if refusal := keys.unusable(); refusal != nil {
		return refusal
	}
	if !keys.holds(kid, key) {
		return Refusef(TokenKeyRetired, "the key %.100q has left the key set of %.100q", kid, issuer)
	}
	return nil
}

// version changes whenever an answer of keyStands may have.
func (v *Verifier) version() uint64 {
	var sum uint64
	for _, issuer := range v.issuers {
		if keys, ok := issuer.Keys.(keysHeld); ok {
			sum += keys.version()
		}
	}
	return sum
}

// keysHeld are key sources that know what they hold without fetching.
type keysHeld interface {
	holds(kid string, key crypto.PublicKey) bool
	// unusable says why what they hold is not to be used; nil: it is.
	unusable() *Refusal
	version() uint64
}
