package auth

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// allAlgorithms is the widest configuration there is.
var allAlgorithms = []string{algorithmEdDSA, algorithmES256, algorithmRS256, algorithmPS256}

// What is done to a good token on the wire, without the key.
func TestMangledTokens(t *testing.T) {
	signer := newP256Signer(t)
	verifier := verifierOf(t, keysOf(t, signer))
	good := signed(t, signer, plainHeader(signer).json(), plainClaims().json())
	parts := strings.Split(good, ".")
	header, claims, signature := parts[0], parts[1], parts[2]
	stray := func(text string) string { return text[:len(text)-1] + string(nextInAlphabet(text[len(text)-1])) }
	aligned := signed(t, signer, plainHeader(signer).json()+"  "[:spacesToAlign(plainHeader(signer).json())], plainClaims().json())
	for _, test := range []struct {
		name  string
		token string
		want  Reason
	}{
		{"too large by a byte", strings.Repeat("a", maxTokenBytes+1), TokenTooLarge},
		{"too large, though well-formed", good + strings.Repeat("A", maxTokenBytes), TokenTooLarge},
		{"as large as may be", strings.Repeat("a", maxTokenBytes), TokenMalformed},
		{"empty", "", TokenMalformed},
		{"two dots", "..", TokenMalformed},
		{"one segment", header, TokenMalformed},
		{"two segments", header + "." + claims, TokenMalformed},
		{"four segments", good + "." + signature, TokenMalformed},
		{"five segments, as JWE has", good + "..", TokenMalformed},
		{"a dot more", good + ".", TokenMalformed},
		{"no header", "." + claims + "." + signature, TokenMalformed},
		{"no claims", header + ".." + signature, TokenMalformed},
		{"no signature", header + "." + claims + ".", TokenSignature},
		{"JSON serialisation", `{"payload":"` + claims + `","protected":"` + header + `","signature":"` + signature + `"}`, TokenMalformed},
		{"header not encoded", plainHeader(signer).json() + "." + claims + "." + signature, TokenMalformed},
		{"space before", " " + good, TokenMalformed},
		{"space after", good + " ", TokenMalformed},
		// encoding/base64 skips line ends.
		{"line end after", good + "\n", TokenMalformed},
		{"line end in the header", header[:4] + "\n" + good[4:], TokenMalformed},
		{"return in the claims", header + "." + claims[:4] + "\r" + claims[4:] + "." + signature, TokenMalformed},
		{"line end in the signature", header + "." + claims + "." + signature[:4] + "\r\n" + signature[4:], TokenMalformed},
		{"signature padded", good + "==", TokenMalformed},
		{"signature in plain base64", header + "." + claims + "." + "+/+/" + signature[4:], TokenMalformed},
		// Two of the last character's bits are no part of the 64 bytes.
		{"signature with stray bits", header + "." + claims + "." + stray(signature), TokenMalformed},
		{"header with stray bits", stray(strings.Split(aligned, ".")[0]) + "." + claims + "." + signature, TokenMalformed},
		{"signature cut short", good[:len(good)-2], TokenSignature},
		{"signature too long", good[:len(good)-2] + "AAAA", TokenSignature},
		{"other claims", header + "." + segment(plainClaims().with(members{"sub": `"mallory"`}).json()) + "." + signature, TokenSignature},
		{"other header", segment(plainHeader(signer).with(members{"x": "1"}).json()) + "." + claims + "." + signature, TokenSignature},
	} {
		t.Run(test.name, func(t *testing.T) { wantRefused(t, verifier, test.token, test.want) })
	}
	wantAccepted(t, verifier, good)
	wantAccepted(t, verifier, aligned)
}

// spacesToAlign is how many spaces make the text one whose base64url form has
// bits to spare.
func spacesToAlign(text string) int { return (4 - len(text)%3) % 3 }

// nextInAlphabet returns a character that differs from c in its lowest bit.
func nextInAlphabet(c byte) byte {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return alphabet[strings.IndexByte(alphabet, c)^1]
}

// RFC 8725 section 2.1: the algorithm is taken from the token.
func TestAlgorithmNone(t *testing.T) {
	signer := newEd25519Signer(t)
	verifier := verifierOf(t, keysOf(t, signer), allAlgorithms...)
	good := signed(t, signer, plainHeader(signer).json(), plainClaims().json())
	signature := good[strings.LastIndex(good, ".")+1:]
	for _, none := range []string{"none", "None", "NONE", "nOnE", "none ", "no\u006ee"} {
		for _, tail := range []string{"", signature, "AA"} {
			header := plainHeader(signer).with(members{"alg": quoted(none)}).json()
			wantRefused(t, verifier, segment(header)+"."+segment(plainClaims().json())+"."+tail, TokenAlgorithm)
		}
	}
}

// RFC 8725 section 2.1: a public key, which anyone has, taken for the secret of
// an HMAC.
func TestHMACWithThePublicKey(t *testing.T) {
	signer := newP256Signer(t)
	der, err := x509.MarshalPKIXPublicKey(signer.Key().Public)
	if err != nil {
		t.Fatal(err)
	}
	jwks, err := signer.JWKS()
	if err != nil {
		t.Fatal(err)
	}
	armoured := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	verifier := verifierOf(t, keysOf(t, signer), allAlgorithms...)
	for form, secret := range map[string][]byte{
		"PEM": armoured, "PEM without its last line end": bytes.TrimSpace(armoured),
		"DER": der, "JWK": jwks, "empty": {},
	} {
		for _, algorithm := range []string{"HS256", "HS384", "HS512"} {
			header := plainHeader(signer).with(members{"alg": quoted(algorithm)}).json()
			text := segment(header) + "." + segment(plainClaims().json())
			mac := hmac.New(sha256.New, secret)
			mac.Write([]byte(text))
			t.Run(form+" "+algorithm, func(t *testing.T) {
				wantRefused(t, verifier, text+"."+segment(string(mac.Sum(nil))), TokenAlgorithm)
			})
		}
	}
}

// A token that brings the key it was signed with (RFC 8725 section 3.10).
func TestEmbeddedKeys(t *testing.T) {
	trusted, attacker := newP256Signer(t), newP256Signer(t)
	verifier := verifierOf(t, keysOf(t, trusted))
	jwk := members{"kty": `"EC"`, "crv": `"P-256"`, "x": quoted(attacker.jwk["x"]), "y": quoted(attacker.jwk["y"])}
	plain := plainHeader(trusted)
	wantRefused(t, verifier, signed(t, attacker, plain.with(members{"jwk": jwk.json()}).json(), plainClaims().json()), TokenMalformed)
	wantRefused(t, verifier, signed(t, attacker, plain.with(members{"jku": `"https://attacker.test/"`}).json(), plainClaims().json()), TokenMalformed)
	wantRefused(t, verifier, signed(t, attacker, plain.json(), plainClaims().json()), TokenSignature)
	wantRefused(t, verifier, signed(t, attacker, plainHeader(attacker).json(), plainClaims().json()), TokenKeyUnknown)
}

func newRSAKey(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// signedBy returns the token whose signature golang-jwt's method makes.
func signedBy(t *testing.T, method jwt.SigningMethod, key crypto.Signer, header string) string {
	t.Helper()
	text := segment(header) + "." + segment(plainClaims().json())
	signature, err := method.Sign(text, key)
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + segment(string(signature))
}

func header(algorithm string) string {
	return members{"alg": quoted(algorithm), "kid": `"k"`}.json()
}

func TestAlgorithmAndKeyMustFit(t *testing.T) {
	rsaKey, smallRSAKey := newRSAKey(t, 2048), newRSAKey(t, 1024)
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name       string
		accepted   []string // by the issuer
		reserved   string   // the key's own algorithm
		public     crypto.PublicKey
		token      string
		wantReason Reason // empty: accepted
	}{
		{"RS256 by default", nil, "", rsaKey.Public(), signedBy(t, jwt.SigningMethodRS256, rsaKey, header("RS256")), TokenAlgorithm},
		{"PS256 where RS256 is", []string{"RS256"}, "", rsaKey.Public(), signedBy(t, jwt.SigningMethodPS256, rsaKey, header("PS256")), TokenAlgorithm},
		{"ES256 where EdDSA is", []string{"EdDSA"}, "", p256.Public(), signedBy(t, jwt.SigningMethodES256, p256, header("ES256")), TokenAlgorithm},
		{"RS384", allAlgorithms, "", rsaKey.Public(), signedBy(t, jwt.SigningMethodRS384, rsaKey, header("RS384")), TokenAlgorithm},
		{"ES384", allAlgorithms, "", p384.Public(), signedBy(t, jwt.SigningMethodES384, p384, header("ES384")), TokenAlgorithm},
		{"ES256 with a P-384 key", allAlgorithms, "", p384.Public(), signedBy(t, jwt.SigningMethodES256, p256, header("ES256")), TokenAlgorithm},
		{"RS256 with 1024 bits", allAlgorithms, "", smallRSAKey.Public(), signedBy(t, jwt.SigningMethodRS256, smallRSAKey, header("RS256")), TokenAlgorithm},
		{"ES256 with an RSA key", allAlgorithms, "", rsaKey.Public(), signedBy(t, jwt.SigningMethodRS256, rsaKey, header("ES256")), TokenAlgorithm},
		{"EdDSA with a P-256 key", allAlgorithms, "", p256.Public(), signedBy(t, jwt.SigningMethodES256, p256, header("EdDSA")), TokenAlgorithm},
		{"Ed25519 with a P-256 key", allAlgorithms, "", p256.Public(), signedBy(t, jwt.SigningMethodES256, p256, header("Ed25519")), TokenAlgorithm},
		{"Ed25519 where ES256 is", []string{"ES256"}, "", edKey.Public(), signedBy(t, jwt.SigningMethodEdDSA, edKey, header("Ed25519")), TokenAlgorithm},
		{"Ed25519 in another case", allAlgorithms, "", edKey.Public(), signedBy(t, jwt.SigningMethodEdDSA, edKey, header("ed25519")), TokenAlgorithm},
		{"Ed448", allAlgorithms, "", edKey.Public(), signedBy(t, jwt.SigningMethodEdDSA, edKey, header("Ed448")), TokenAlgorithm},
		{"a private key for a public one", allAlgorithms, "", p256, signedBy(t, jwt.SigningMethodES256, p256, header("ES256")), TokenAlgorithm},
		{"a key reserved for another", allAlgorithms, "PS256", rsaKey.Public(), signedBy(t, jwt.SigningMethodRS256, rsaKey, header("RS256")), TokenAlgorithm},
		{"RS256 signature as PS256", allAlgorithms, "", rsaKey.Public(), signedBy(t, jwt.SigningMethodRS256, rsaKey, header("PS256")), TokenSignature},
		// RFC 7518 section 3.5 has 32 bytes; golang-jwt takes any number.
		{"PS256 without salt", allAlgorithms, "", rsaKey.Public(), signedBy(t, saltedPS256(0), rsaKey, header("PS256")), TokenSignature},
		{"PS256 with a long salt", allAlgorithms, "", rsaKey.Public(), signedBy(t, saltedPS256(64), rsaKey, header("PS256")), TokenSignature},

		{"EdDSA", nil, "", edKey.Public(), signedBy(t, jwt.SigningMethodEdDSA, edKey, header("EdDSA")), ""},
		// One algorithm by two names (RFC 9864), in the header or of the key.
		{"Ed25519", nil, "", edKey.Public(), signedBy(t, jwt.SigningMethodEdDSA, edKey, header("Ed25519")), ""},
		{"Ed25519 with a key for EdDSA", nil, "EdDSA", edKey.Public(), signedBy(t, jwt.SigningMethodEdDSA, edKey, header("Ed25519")), ""},
		{"EdDSA with a key for Ed25519", nil, "Ed25519", edKey.Public(), signedBy(t, jwt.SigningMethodEdDSA, edKey, header("EdDSA")), ""},
		{"ES256", nil, "ES256", p256.Public(), signedBy(t, jwt.SigningMethodES256, p256, header("ES256")), ""},
		{"RS256", []string{"RS256"}, "", rsaKey.Public(), signedBy(t, jwt.SigningMethodRS256, rsaKey, header("RS256")), ""},
		{"PS256", []string{"PS256"}, "PS256", rsaKey.Public(), signedBy(t, jwt.SigningMethodPS256, rsaKey, header("PS256")), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			verifier := verifierOf(t, oneKey("k", test.reserved, test.public), test.accepted...)
			if test.wantReason != "" {
				wantRefused(t, verifier, test.token, test.wantReason)
				return
			}
			wantAccepted(t, verifier, test.token)
		})
	}
}

func saltedPS256(bytes int) jwt.SigningMethod {
	return &jwt.SigningMethodRSAPSS{
		SigningMethodRSA: jwt.SigningMethodRS256,
		Options:          &rsa.PSSOptions{SaltLength: max(bytes, rsa.PSSSaltLengthAuto)},
	}
}

// An ES256 signature is r and s, 32 bytes each (RFC 7518 section 3.4).
func TestES256SignatureForms(t *testing.T) {
	signer := newP256Signer(t)
	verifier := verifierOf(t, keysOf(t, signer))
	good := signed(t, signer, plainHeader(signer).json(), plainClaims().json())
	cut := strings.LastIndex(good, ".")
	signature, err := decodeSegment(good[cut+1:])
	if err != nil {
		t.Fatal(err)
	}
	r, s := signature[:32], signature[32:]
	der, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(r), new(big.Int).SetBytes(s)})
	if err != nil {
		t.Fatal(err)
	}
	zero, order := make([]byte, 32), elliptic.P256().Params().N
	for name, signature := range map[string][]byte{
		"DER":                   der,
		"r and s zero":          append(zero[:32:32], zero...),
		"r zero":                append(zero[:32:32], s...),
		"s zero":                append(r[:32:32], zero...),
		"r and s the order":     append(order.Bytes(), order.Bytes()...),
		"s beyond the order":    append(r[:32:32], bytes.Repeat([]byte{0xff}, 32)...),
		"r and s swapped":       append(s[:32:32], r...),
		"a zero before each":    bytes.Join([][]byte{nil, r, s}, []byte{0}),
		"a zero after":          append(signature[:64:64], 0),
		"half":                  r,
		"of the length of P384": make([]byte, 96),
	} {
		t.Run(name, func(t *testing.T) {
			wantRefused(t, verifier, good[:cut+1]+segment(string(signature)), TokenSignature)
		})
	}
}
