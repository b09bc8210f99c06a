package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const defaultMintLifetime = time.Hour

// A Signer mints tokens with one private key. It serves development set-ups and
// tests; it is no authorisation server. It is safe for concurrent use.
type Signer struct {
	private   crypto.Signer
	algorithm string
	jwk       map[string]string
	keyID     string
}

// NewSigningKey returns a signer with a new Ed25519 key.
func NewSigningKey() (*Signer, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	return NewSigner(private)
}

// ParseSigningKey returns the signer for a PEM block "PRIVATE KEY" (PKCS #8)
// that holds an Ed25519 or P-256 key.
func ParseSigningKey(text []byte) (*Signer, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New(`signing key: not a PEM block "PRIVATE KEY" (PKCS #8): make one with openssl genpkey -algorithm ed25519`)
	}
	if strings.TrimSpace(string(rest)) != "" {
		return nil, errors.New("signing key: something follows the PEM block: keep one key to a file")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("signing key: the PEM block does not hold a PKCS #8 private key")
	}
	private, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("signing key: a %T cannot sign: use Ed25519 or P-256", parsed)
	}
	return NewSigner(private)
}

// NewSigner returns the signer for an ed25519.PrivateKey or an *ecdsa.PrivateKey
// on P-256.
func NewSigner(private crypto.Signer) (*Signer, error) {
	s := &Signer{private: private}
	encode := base64.RawURLEncoding.EncodeToString
	switch key := private.(type) {
	case ed25519.PrivateKey:
		if len(key) != ed25519.PrivateKeySize {
			return nil, fmt.Errorf("signing key: an Ed25519 key has %d bytes, not %d", ed25519.PrivateKeySize, len(key))
		}
		s.algorithm = algorithmEdDSA
		public, _ := key.Public().(ed25519.PublicKey)
		s.jwk = map[string]string{"kty": "OKP", "crv": "Ed25519", "x": encode(public)}
	case *ecdsa.PrivateKey:
		if key.Curve != elliptic.P256() {
			return nil, errors.New("signing key: an EC key must be on P-256")
		}
		s.algorithm = algorithmES256
		point, err := key.PublicKey.Bytes()
		if err != nil {
			return nil, fmt.Errorf("signing key: %w", err)
		}
		s.jwk = map[string]string{"kty": "EC", "crv": "P-256", "x": encode(point[1:33]), "y": encode(point[33:])}
	default:
		return nil, fmt.Errorf("signing key: a %T is not supported: use Ed25519 or P-256", private)
	}
	// RFC 7638: the digest is over the required members alone, in the order of
	// their names and without white space, which is how a map is marshalled.
	canonical, err := json.Marshal(s.jwk)
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	digest := sha256.Sum256(canonical)
	s.keyID = encode(digest[:])
	return s, nil
}

// PEM returns the private key as a PEM block that ParseSigningKey reads. Keep it
// in a file that only its owner can read.
func (s *Signer) PEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(s.private)
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// KeyID is the key's kid: its RFC 7638 thumbprint.
func (s *Signer) KeyID() string { return s.keyID }

// Key returns the public key, as a KeySource would.
func (s *Signer) Key() Key {
	return Key{ID: s.keyID, Algorithm: s.algorithm, Public: s.private.Public()}
}

// JWKS returns the JSON Web Key Set that holds the public key.
func (s *Signer) JWKS() ([]byte, error) { return MarshalKeySet(s) }

// MarshalKeySet returns the JSON Web Key Set that holds the public keys of all
// the signers. While keys rotate, it holds the old and the new.
func MarshalKeySet(signers ...*Signer) ([]byte, error) {
	keys := make([]map[string]string, len(signers))
	for i, signer := range signers {
		keys[i] = map[string]string{"kid": signer.keyID, "alg": signer.algorithm, "use": "sig"}
		for name, value := range signer.jwk {
			keys[i][name] = value
		}
	}
	jwks, err := json.MarshalIndent(map[string]any{"keys": keys}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("key set: %w", err)
	}
	return append(jwks, '\n'), nil
}

// MintClaims says what a minted token claims.
type MintClaims struct {
	// Issuer, Audience and Subject are required: iss, aud, sub.
	Issuer   string
	Audience []string
	Subject  string
	// ID is the jti; empty is a random one.
	ID string
	// IssuedAt is the iat; zero is now. NotBefore is the nbf; zero is none.
	// Expires is the exp; zero is an hour after IssuedAt. All are cut to seconds.
	IssuedAt, NotBefore, Expires time.Time
	// Scopes and Rooms are the scope and rooms claims; nil is none.
	Scopes, Rooms []string
	// Confirmation is the SHA-256 of the certificate that the token is bound to
	// (cnf x5t#S256, RFC 8705); nil leaves the token unbound.
	Confirmation *[32]byte
}

// wireClaims is the order and form of a minted payload.
type wireClaims struct {
	Issuer       string            `json:"iss"`
	Subject      string            `json:"sub"`
	Audience     []string          `json:"aud"`
	Expires      int64             `json:"exp"`
	NotBefore    int64             `json:"nbf,omitempty"`
	IssuedAt     int64             `json:"iat"`
	ID           string            `json:"jti"`
	Scope        string            `json:"scope,omitempty"`
	Rooms        []string          `json:"rooms,omitempty"`
	Confirmation map[string]string `json:"cnf,omitempty"`
}

// Mint returns a signed token of type at+jwt (RFC 9068). It refuses a subject
// that no verifier would accept.
func (s *Signer) Mint(c MintClaims) (string, error) {
	if c.Issuer == "" || len(c.Audience) == 0 {
		return "", errors.New("mint token: issuer and audience are required")
	}
	if err := CheckName(c.Subject); err != nil {
		return "", fmt.Errorf("mint token: subject: %w", err)
	}
	payload := wireClaims{
		Issuer: c.Issuer, Subject: c.Subject, Audience: c.Audience, ID: c.ID,
		Scope: strings.Join(c.Scopes, " "), Rooms: c.Rooms,
	}
	if payload.ID == "" {
		payload.ID = rand.Text()
	}
	if c.IssuedAt.IsZero() {
		c.IssuedAt = time.Now()
	}
	if c.Expires.IsZero() {
		c.Expires = c.IssuedAt.Add(defaultMintLifetime)
	}
	payload.IssuedAt, payload.Expires = c.IssuedAt.Unix(), c.Expires.Unix()
	if !c.NotBefore.IsZero() {
		payload.NotBefore = c.NotBefore.Unix()
	}
	if c.Confirmation != nil {
		payload.Confirmation = map[string]string{"x5t#S256": base64.RawURLEncoding.EncodeToString(c.Confirmation[:])}
	}
	header, err := json.Marshal(map[string]string{"alg": s.algorithm, "kid": s.keyID, "typ": "at+jwt"})
	if err != nil {
		return "", fmt.Errorf("mint token: %w", err)
	}
	claims, err := json.Marshal(payload)
	if err != nil {
		return "", fmt.Errorf("mint token: %w", err)
	}
	return s.Sign(header, claims)
}

// Sign returns the compact JWS of a header and a payload exactly as they are
// given, whatever they say. It is for tests of what verifiers refuse; Mint makes
// proper tokens.
func (s *Signer) Sign(header, payload []byte) (string, error) {
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode(header) + "." + encode(payload)
	var method jwt.SigningMethod = jwt.SigningMethodEdDSA
	if s.algorithm == algorithmES256 {
		method = jwt.SigningMethodES256
	}
	signature, err := method.Sign(signed, s.private)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	return signed + "." + encode(signature), nil
}
