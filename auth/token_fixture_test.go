package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"
)

const (
	testIssuer   = "https://issuer.test"
	testAudience = "chat.test"
)

// testNow is the time of every verifier in these tests.
var testNow = time.Date(2026, time.March, 4, 5, 6, 7, 0, time.UTC)

// members is a JSON object whose values are raw JSON text.
type members map[string]string

// with returns the members, edited: an empty value takes its member away.
func (m members) with(edits members) members {
	edited := maps.Clone(m)
	for name, value := range edits {
		if value == "" {
			delete(edited, name)
		} else {
			edited[name] = value
		}
	}
	return edited
}

func (m members) json() string {
	text := make([]string, 0, len(m))
	for name, value := range m {
		quoted, err := json.Marshal(name)
		if err != nil {
			panic(err)
		}
		text = append(text, string(quoted)+":"+value)
	}
	return "{" + strings.Join(text, ",") + "}"
}

func quoted(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// plainHeader and plainClaims are a token's that is accepted.
func plainHeader(s *Signer) members {
	return members{"alg": quoted(s.algorithm), "kid": quoted(s.keyID), "typ": `"JWT"`}
}

func plainClaims() members {
	return members{
		"iss": quoted(testIssuer), "aud": quoted(testAudience), "sub": `"alice"`,
		"iat": unix(testNow), "exp": unix(testNow.Add(time.Hour)),
	}
}

func unix(at time.Time) string {
	text, err := json.Marshal(at.Unix())
	if err != nil {
		panic(err)
	}
	return string(text)
}

func newEd25519Signer(t testing.TB) *Signer {
	t.Helper()
	signer, err := NewSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

func newP256Signer(t testing.TB) *Signer {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// keysOf is the key set of the signers, as it would be published.
func keysOf(t testing.TB, signers ...*Signer) *KeySet {
	t.Helper()
	jwks, err := MarshalKeySet(signers...)
	if err != nil {
		t.Fatal(err)
	}
	set, err := ParseKeySet(jwks)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// oneKey is a key set of one key that nobody has checked.
func oneKey(kid, algorithm string, public crypto.PublicKey) *KeySet {
	return &KeySet{keys: map[string]Key{kid: {ID: kid, Algorithm: algorithm, Public: public}}}
}

// verifierOf returns a verifier of testIssuer's tokens at testNow.
func verifierOf(t testing.TB, keys KeySource, algorithms ...string) *Verifier {
	t.Helper()
	return newVerifierAt(t, VerifierConfig{
		Issuers: []Issuer{{Name: testIssuer, Audience: testAudience, Keys: keys, Algorithms: algorithms}},
	})
}

func newVerifierAt(t testing.TB, cfg VerifierConfig) *Verifier {
	t.Helper()
	cfg.Now = func() time.Time { return testNow }
	verifier, err := NewVerifier(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return verifier
}

// signed returns the token that s signs over header and claims as they are.
func signed(t testing.TB, s *Signer, header, claims string) string {
	t.Helper()
	token, err := s.Sign([]byte(header), []byte(claims))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// segment encodes one part of a token.
func segment(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// wantRefused fails unless v refuses the token for the reason, in words that
// give no part of the token away.
func wantRefused(t *testing.T, v *Verifier, token string, want Reason) {
	t.Helper()
	claims, err := v.Verify(t.Context(), token)
	if err == nil {
		t.Fatalf("accepted as %+v, want %s", claims, want)
	}
	if claims != nil {
		t.Errorf("refused, but with the claims %+v", claims)
	}
	var refusal *Refusal
	if !errors.As(err, &refusal) {
		t.Fatalf("refused with a %T: %v", err, err)
	}
	if refusal.Reason != want {
		t.Errorf("refused with %v, want %s", err, want)
	}
	for part := range strings.SplitSeq(token, ".") {
		if len(part) > 8 && strings.Contains(err.Error(), part) {
			t.Errorf("the error shows a part of the token: %v", err)
		}
	}
}

func wantAccepted(t testing.TB, v *Verifier, token string) *Claims {
	t.Helper()
	claims, err := v.Verify(t.Context(), token)
	if err != nil {
		t.Fatalf("refused: %v", err)
	}
	return claims
}
