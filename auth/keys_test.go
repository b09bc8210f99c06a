package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
)

// jwkOf is the public JWK of a signer, edited.
func jwkOf(s *Signer, kid string, edits members) string {
	jwk := members{"kid": quoted(kid)}
	for name, value := range s.jwk {
		jwk[name] = quoted(value)
	}
	return jwk.with(edits).json()
}

func rsaJWK(modulus, exponent *big.Int, edits members) string {
	encode := func(n *big.Int) string { return quoted(base64.RawURLEncoding.EncodeToString(n.Bytes())) }
	return members{"kty": `"RSA"`, "kid": `"rsa"`, "n": encode(modulus), "e": encode(exponent)}.with(edits).json()
}

func setOf(keys ...string) string { return `{"keys":[` + strings.Join(keys, ",") + `]}` }

func TestKeySetsRefused(t *testing.T) {
	ed, ec := newEd25519Signer(t), newP256Signer(t)
	good := jwkOf(ed, "good", nil)
	modulus := newRSAKey(t, 2048).N
	e := big.NewInt(65537)
	many := make([]string, 101)
	for i := range many {
		many[i] = jwkOf(ed, fmt.Sprint(i), nil)
	}
	for name, jwks := range map[string]string{
		"empty":                  ``,
		"no JSON":                `keys`,
		"a PEM block":            "-----BEGIN PUBLIC KEY-----",
		"one JWK, no set":        good,
		"an array":               `[` + good + `]`,
		"keys missing":           `{}`,
		"keys null":              `{"keys":null}`,
		"keys an object":         `{"keys":{"good":` + good + `}}`,
		"keys twice":             `{"keys":[],"keys":[` + good + `]}`,
		"Keys beside keys":       `{"Keys":[],"keys":[` + good + `]}`,
		"a key that is a string": setOf(good, `"x"`),
		"something after":        setOf(good) + `x`,
		"too large":              setOf(good) + strings.Repeat(" ", maxKeySetBytes),
		"too many keys":          setOf(many...),
		"no key":                 setOf(),
		"no usable key":          setOf(jwkOf(ed, "x", members{"use": `"enc"`})),
		"one kid twice":          setOf(good, jwkOf(ec, "good", nil)),
		"a member twice":         setOf(good, `{"kid":"a",`+jwkOf(ec, "b", nil)[1:]),

		// Whoever publishes a secret must notice, whatever else is in the set.
		"private Ed25519 key":      setOf(good, jwkOf(ed, "x", members{"d": `"AAAA"`})),
		"private EC key":           setOf(good, jwkOf(ec, "x", members{"d": `"AAAA"`})),
		"private key of other use": setOf(good, jwkOf(ed, "x", members{"use": `"enc"`, "d": `"AAAA"`})),
		"private key without kid":  setOf(good, jwkOf(ed, "x", members{"kid": "", "d": `"AAAA"`})),
		"private key of any type":  setOf(good, `{"kty":"new","d":"AAAA"}`),
		"private RSA prime":        setOf(good, rsaJWK(modulus, e, members{"p": `"AAAA"`})),
		"private RSA exponent":     setOf(good, rsaJWK(modulus, e, members{"dq": `"AAAA"`})),
		"symmetric key":            setOf(good, `{"kty":"oct","kid":"x","k":"AAAA"}`),
		"symmetric key, disguised": setOf(good, jwkOf(ed, "x", members{"k": `"AAAA"`})),
		"secret in capitals":       setOf(good, jwkOf(ed, "x", members{"D": `"AAAA"`})),
		"secret null":              setOf(good, jwkOf(ed, "x", members{"d": `null`})),

		"kid a number":       setOf(good, jwkOf(ed, "x", members{"kid": `1`})),
		"KID":                setOf(good, jwkOf(ed, "x", members{"KID": `"y"`})),
		"kty missing":        setOf(good, jwkOf(ed, "x", members{"kty": ``})),
		"crv missing":        setOf(good, jwkOf(ed, "x", members{"crv": ``})),
		"alg a number":       setOf(good, jwkOf(ed, "x", members{"alg": `1`})),
		"use an array":       setOf(good, jwkOf(ed, "x", members{"use": `["sig"]`})),
		"key_ops a string":   setOf(good, jwkOf(ed, "x", members{"key_ops": `"verify"`})),
		"x missing":          setOf(good, jwkOf(ed, "x", members{"x": ``})),
		"x padded":           setOf(good, jwkOf(ed, "x", members{"x": quoted(ed.jwk["x"] + "=")})),
		"x of 31 bytes":      setOf(good, jwkOf(ed, "x", members{"x": quoted(segment(strings.Repeat("x", 31)))})),
		"EC x of 33 bytes":   setOf(good, jwkOf(ec, "x", members{"x": quoted(segment(strings.Repeat("\x00", 33)))})),
		"EC y missing":       setOf(good, jwkOf(ec, "x", members{"y": ``})),
		"EC point off curve": setOf(good, jwkOf(ec, "x", members{"y": quoted(ec.jwk["x"])})),
		"EC point zero":      setOf(good, jwkOf(ec, "x", members{"x": quoted(segment(strings.Repeat("\x00", 32))), "y": quoted(segment(strings.Repeat("\x00", 32)))})),
		"RSA n even":         setOf(good, rsaJWK(new(big.Int).Lsh(modulus, 1), e, nil)),
		"RSA e missing":      setOf(good, rsaJWK(modulus, e, members{"e": ``})),
		"RSA e one":          setOf(good, rsaJWK(modulus, big.NewInt(1), nil)),
		"RSA e even":         setOf(good, rsaJWK(modulus, big.NewInt(65536), nil)),
		"RSA e beyond 31 bits": setOf(good, rsaJWK(modulus,
			new(big.Int).Add(new(big.Int).Lsh(big.NewInt(1), 64), big.NewInt(3)), nil)),
	} {
		t.Run(name, func(t *testing.T) {
			set, err := ParseKeySet([]byte(jwks))
			if err == nil {
				t.Fatalf("accepted: %v", set.IDs())
			}
			if strings.Contains(err.Error(), "AAAA") {
				t.Errorf("the error shows a secret: %v", err)
			}
		})
	}
}

// Keys that cannot verify a token here are left out, and harm no other.
func TestKeysLeftOut(t *testing.T) {
	ed, ec := newEd25519Signer(t), newP256Signer(t)
	modulus := newRSAKey(t, 2048).N
	e := big.NewInt(65537)
	for name, jwk := range map[string]string{
		"no kid":                      jwkOf(ed, "", members{"kid": ""}),
		"empty kid":                   jwkOf(ed, "", nil),
		"kid longer than a token's":   jwkOf(ed, strings.Repeat("k", 257), nil),
		"use enc":                     jwkOf(ed, "x", members{"use": `"enc"`}),
		"use in another case":         jwkOf(ed, "x", members{"use": `"SIG"`}),
		"key_ops without verify":      jwkOf(ed, "x", members{"key_ops": `["sign","encrypt"]`}),
		"key_ops empty":               jwkOf(ed, "x", members{"key_ops": `[]`}),
		"alg of another type":         jwkOf(ed, "x", members{"alg": `"ES256"`}),
		"alg not accepted":            rsaJWK(modulus, e, members{"alg": `"RSA-OAEP"`}),
		"alg Ed25519 of another type": jwkOf(ec, "x", members{"alg": `"Ed25519"`}),
		"alg of HMAC":                 jwkOf(ec, "x", members{"alg": `"HS256"`}),
		"kty unknown":                 `{"kty":"AKP","kid":"x","alg":"ML-DSA-44","pub":"AAAA"}`,
		"kty in another case":         jwkOf(ec, "x", members{"kty": `"ec"`}),
		"P-384":                       jwkOf(ec, "x", members{"crv": `"P-384"`}),
		"secp256k1":                   jwkOf(ec, "x", members{"crv": `"secp256k1"`}),
		"X25519":                      jwkOf(ed, "x", members{"crv": `"X25519"`}),
		"Ed448":                       jwkOf(ed, "x", members{"crv": `"Ed448"`}),
		"RSA of 1024 bits":            rsaJWK(newRSAKey(t, 1024).N, e, nil),
		"RSA of 2047 bits":            rsaJWK(oddNumber(2047), e, nil),
		"RSA of 8193 bits":            rsaJWK(oddNumber(8193), e, nil),
	} {
		t.Run(name, func(t *testing.T) {
			set, err := ParseKeySet([]byte(setOf(jwk, jwkOf(ed, "good", nil))))
			if err != nil {
				t.Fatal(err)
			}
			if got := set.IDs(); !slices.Equal(got, []string{"good"}) {
				t.Errorf("usable: %v", got)
			}
		})
	}
}

// oddNumber returns an odd number of that many bits.
func oddNumber(bits uint) *big.Int {
	n := new(big.Int).Lsh(big.NewInt(1), bits-1)
	return n.SetBit(n, 0, 1)
}

func TestKeySetKeys(t *testing.T) {
	ed, ec, private := newEd25519Signer(t), newP256Signer(t), newRSAKey(t, 2048)
	set, err := ParseKeySet([]byte(setOf(
		jwkOf(ed, "ed", members{"alg": `"EdDSA"`, "use": `"sig"`, "key_ops": `["verify"]`, "x5c": `["AAAA"]`}),
		jwkOf(ec, "ec", nil),
		rsaJWK(private.N, big.NewInt(int64(private.E)), members{"alg": `"PS256"`}),
		rsaJWK(private.N, big.NewInt(3), members{"kid": `"enc"`, "use": `"enc"`}),
	)))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := set.IDs(), []string{"ec", "ed", "rsa"}; !slices.Equal(got, want) {
		t.Fatalf("keys %v, want %v", got, want)
	}
	key := func(kid string) Key {
		key, err := set.Key(t.Context(), kid)
		if err != nil || key.ID != kid || !set.Has(kid) {
			t.Fatalf("%s: %+v, %v", kid, key, err)
		}
		return key
	}
	if k := key("ed"); k.Algorithm != "EdDSA" || !k.Public.(ed25519.PublicKey).Equal(ed.Key().Public) {
		t.Errorf("ed: %+v", k)
	}
	if k := key("ec"); k.Algorithm != "" || !k.Public.(*ecdsa.PublicKey).Equal(ec.Key().Public) {
		t.Errorf("ec: %+v", k)
	}
	if k := key("rsa"); k.Algorithm != "PS256" || !k.Public.(*rsa.PublicKey).Equal(private.Public()) {
		t.Errorf("rsa: %+v", k)
	}
	_, err = set.Key(t.Context(), "enc")
	if reason, _ := ReasonOf(err); reason != TokenKeyUnknown || set.Has("enc") {
		t.Errorf("enc: %v", err)
	}
}

// A set is another when a key is, even under the same kid.
func TestKeySetsCompared(t *testing.T) {
	a, b := newEd25519Signer(t), newEd25519Signer(t)
	parse := func(keys ...string) *KeySet {
		set, err := ParseKeySet([]byte(setOf(keys...)))
		if err != nil {
			t.Fatal(err)
		}
		return set
	}
	one := parse(jwkOf(a, "x", nil))
	for name, other := range map[string]*KeySet{
		"another key":       parse(jwkOf(b, "x", nil)),
		"another type":      parse(jwkOf(newP256Signer(t), "x", nil)),
		"another kid":       parse(jwkOf(a, "y", nil)),
		"one more":          parse(jwkOf(a, "x", nil), jwkOf(b, "y", nil)),
		"another algorithm": parse(jwkOf(a, "x", members{"alg": `"EdDSA"`})),
	} {
		if one.equal(other) || other.equal(one) {
			t.Errorf("%s: equal", name)
		}
	}
	if !one.equal(parse(" " + jwkOf(a, "x", members{"use": `"sig"`}))) {
		t.Error("the same key in other words: not equal")
	}
}

// A set that is accepted has only keys that some algorithm can use.
func FuzzParseKeySet(f *testing.F) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(setOf(jwkOf(newEd25519Signer(f), "a", nil), jwkOf(newP256Signer(f), "b", members{"use": `"enc"`}))))
	f.Add([]byte(setOf(rsaJWK(private.N, big.NewInt(3), nil))))
	f.Add([]byte(setOf(`{"kty":"oct","k":"AAAA"}`)))
	f.Add([]byte(`{"keys":[]}`))
	f.Fuzz(func(t *testing.T, jwks []byte) {
		set, err := ParseKeySet(jwks)
		if err != nil {
			return
		}
		if len(set.IDs()) == 0 {
			t.Fatalf("%q: a set without keys", jwks)
		}
		for _, kid := range set.IDs() {
			key, err := set.Key(t.Context(), kid)
			if err != nil || !key.usable() {
				t.Fatalf("%q: %+v, %v", jwks, key, err)
			}
			for _, algorithm := range allAlgorithms {
				if key.fits(algorithm) == nil && verifySignature(algorithm, key, "", nil) == nil {
					t.Fatalf("%q: key %q verifies nothing at all", jwks, kid)
				}
			}
		}
	})
}
