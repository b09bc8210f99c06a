package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
)

const maxRSABits = 8192

// secretMembers are the JWK members that only a private or a symmetric key has
// (RFC 7518 sections 6.2.2, 6.3.2 and 6.4.1, RFC 8037 section 2).
var secretMembers = [...]string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"}

// readKey reads a JWK. A key that is well-formed but cannot verify a token here
// is not usable; that is no error.
func readKey(member any) (key Key, usable bool, err error) {
	jwk, ok := member.(jsonObject)
	if !ok {
		return Key{}, false, errors.New("not a JSON object")
	}
	known := append([]string{"kty", "use", "key_ops", "alg", "kid", "crv", "x", "y", "n", "e"}, secretMembers[:]...)
	if err := jwk.refuseVariants(known...); err != nil {
		return Key{}, false, err
	}
	for _, name := range secretMembers {
		if _, present := jwk[name]; present {
			return Key{}, false, fmt.Errorf("it has the secret member %q: that key is published and must be replaced; publish public keys alone", name)
		}
	}
	usable, err = meantForTokens(jwk)
	if err != nil || !usable {
		return Key{}, false, err
	}
	if key.ID, _, err = jwk.text("kid"); err != nil {
		return Key{}, false, err
	}
	if key.Algorithm, _, err = jwk.text("alg"); err != nil {
		return Key{}, false, err
	}
	if key.Public, err = readPublicKey(jwk); err != nil {
		return Key{}, false, fmt.Errorf("kid %.100q: %w", key.ID, err)
	}
	return key, key.usable(), nil
}

// meantForTokens looks at what a JWK says that it is for (RFC 7517 sections 4.2
// and 4.3).
func meantForTokens(jwk jsonObject) (bool, error) {
	use, present, err := jwk.text("use")
	if err != nil || present && use != "sig" {
		return false, err
	}
	operations, present, err := jwk.texts("key_ops")
	if err != nil || present && !slices.Contains(operations, "verify") {
		return false, err
	}
	return true, nil
}

// usable says whether a token could name the key and some accepted algorithm
// could use it.
func (k Key) usable() bool {
	if k.ID == "" || len(k.ID) > maxKeyIDBytes || k.Public == nil {
		return false
	}
	return slices.ContainsFunc([]string{algorithmEdDSA, algorithmES256, algorithmRS256, algorithmPS256},
		func(algorithm string) bool { return k.fits(algorithm) == nil })
}

// readPublicKey returns nil for a key type or curve that is not used here.
func readPublicKey(jwk jsonObject) (crypto.PublicKey, error) {
	kty, err := jwk.required("kty")
	if err != nil {
		return nil, err
	}
	if kty == "RSA" {
		return readRSAKey(jwk)
	}
	if kty != "OKP" && kty != "EC" {
		return nil, nil
	}
	crv, err := jwk.required("crv")
	if err != nil {
		return nil, err
	}
	switch {
	case kty == "OKP" && crv == "Ed25519":
		return readEd25519Key(jwk)
	case kty == "EC" && crv == "P-256":
		return readP256Key(jwk)
	}
	return nil, nil
}

func readEd25519Key(jwk jsonObject) (crypto.PublicKey, error) {
	x, err := readKeyNumber(jwk, "x", ed25519.PublicKeySize)
	if err != nil {
		return nil, err
	}
	return ed25519.PublicKey(x), nil
}

func readP256Key(jwk jsonObject) (crypto.PublicKey, error) {
	const coordinateBytes = 32
	x, err := readKeyNumber(jwk, "x", coordinateBytes)
	if err != nil {
		return nil, err
	}
	y, err := readKeyNumber(jwk, "y", coordinateBytes)
	if err != nil {
		return nil, err
	}
	const uncompressed = 4
	point := slices.Concat([]byte{uncompressed}, x, y)
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		return nil, errors.New("x and y are not a point on P-256")
	}
	return public, nil
}

// readRSAKey returns nil for a modulus of a size that is not used here.
func readRSAKey(jwk jsonObject) (crypto.PublicKey, error) {
	n, err := readKeyNumber(jwk, "n", 0)
	if err != nil {
		return nil, err
	}
	e, err := readKeyNumber(jwk, "e", 0)
	if err != nil {
		return nil, err
	}
	modulus, exponent := new(big.Int).SetBytes(n), new(big.Int).SetBytes(e)
	if modulus.Bit(0) == 0 {
		return nil, errors.New("n is even: it is no RSA modulus")
	}
	if exponent.Bit(0) == 0 || exponent.Cmp(big.NewInt(3)) < 0 || exponent.Cmp(big.NewInt(math.MaxInt32)) > 0 {
		return nil, errors.New("e is not an odd number of at least 3 and below 2^31")
	}
	if bits := modulus.BitLen(); bits < minRSABits || bits > maxRSABits {
		return nil, nil
	}
	return &rsa.PublicKey{N: modulus, E: int(exponent.Int64())}, nil
}

// readKeyNumber reads a base64url member of exactly size bytes; of any size
// where size is 0.
func readKeyNumber(jwk jsonObject, name string, size int) ([]byte, error) {
	text, err := jwk.required(name)
	if err != nil {
		return nil, err
	}
	number, err := decodeSegment(text)
	if err != nil {
		return nil, fmt.Errorf("member %q: %w", name, err)
	}
	if size != 0 && len(number) != size {
		return nil, fmt.Errorf("member %q has %d bytes, not %d", name, len(number), size)
	}
	return number, nil
}
