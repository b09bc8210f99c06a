package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"fmt"

	"github.com/golang-jwt/jwt/v5"
)

// The JWS algorithms that can be accepted (RFC 7518 section 3.1, RFC 8037
// section 3.1): public-key signatures alone.
const (
	algorithmEdDSA = "EdDSA"
	algorithmES256 = "ES256"
	algorithmRS256 = "RS256"
	algorithmPS256 = "PS256"
)

const minRSABits = 2048

// algorithmCalled returns the algorithm that a name in a token or a key stands for.
// EdDSA with Ed25519 keys, of which alone we know, is called Ed25519 as well (RFC
// 9864 section 2.2).
func algorithmCalled(name string) string {
	if name == "Ed25519" {
		return algorithmEdDSA
	}
	return name
}

func knownAlgorithm(name string) bool { return signingMethod(name) != nil }

// signingMethod returns golang-jwt's implementation of the algorithm, or nil.
func signingMethod(name string) jwt.SigningMethod {
	switch name {
	case algorithmEdDSA:
		return jwt.SigningMethodEdDSA
	case algorithmES256:
		return jwt.SigningMethodES256
	case algorithmRS256:
		return jwt.SigningMethodRS256
	case algorithmPS256:
		// golang-jwt's own PS256 takes salts of any length; RFC 7518 section 3.5
		// has exactly the hash's.
		return &jwt.SigningMethodRSAPSS{
			SigningMethodRSA: jwt.SigningMethodRS256,
			Options:          &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256},
		}
	}
	return nil
}

// fits returns an error unless the key is of the type and curve that the
// algorithm takes and is not reserved for another.
func (k Key) fits(algorithm string) error {
	if k.Algorithm != "" && algorithmCalled(k.Algorithm) != algorithm {
		return fmt.Errorf("it is for %.100q, not for %s", k.Algorithm, algorithm)
	}
	var ok bool
	switch public := k.Public.(type) {
	case ed25519.PublicKey:
		ok = algorithm == algorithmEdDSA && len(public) == ed25519.PublicKeySize
	case *ecdsa.PublicKey:
		ok = algorithm == algorithmES256 && public.Curve == elliptic.P256()
	case *rsa.PublicKey:
		ok = (algorithm == algorithmRS256 || algorithm == algorithmPS256) && public.N.BitLen() >= minRSABits
	}
	if !ok {
		return fmt.Errorf("a %T cannot verify %s", k.Public, algorithm)
	}
	return nil
}

// verifySignature verifies the signature over the text signed, and before it
// that the key is one for the algorithm.
func verifySignature(algorithm string, key Key, signed string, signature []byte) error {
	if err := key.fits(algorithm); err != nil {
		return Refusef(TokenAlgorithm, "key %.100q: %w", key.ID, err)
	}
	if err := signingMethod(algorithm).Verify(signed, signature, key.Public); err != nil {
		return Refusef(TokenSignature, "key %.100q: %w", key.ID, err)
	}
	return nil
}
