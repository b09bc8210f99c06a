package auth

import (
	"context"
	"crypto/sha256"
	"encoding/pem"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
)

func TestVerifierConfigurationsRefused(t *testing.T) {
	keys := keysOf(t, newEd25519Signer(t))
	good := Issuer{Name: testIssuer, Audience: testAudience, Keys: keys}
	edited := func(edit func(*Issuer)) VerifierConfig {
		issuer := good
		edit(&issuer)
		return VerifierConfig{Issuers: []Issuer{issuer}}
	}
	for name, cfg := range map[string]VerifierConfig{
		"no issuer":         {},
		"one issuer twice":  {Issuers: []Issuer{good, good}},
		"no name":           edited(func(i *Issuer) { i.Name = "" }),
		"no audience":       edited(func(i *Issuer) { i.Audience = "" }),
		"no keys":           edited(func(i *Issuer) { i.Keys = nil }),
		"empty algorithms":  edited(func(i *Issuer) { i.Algorithms = []string{} }),
		"algorithm none":    edited(func(i *Issuer) { i.Algorithms = []string{"none"} }),
		"algorithm HS256":   edited(func(i *Issuer) { i.Algorithms = []string{"EdDSA", "HS256"} }),
		"algorithm ES384":   edited(func(i *Issuer) { i.Algorithms = []string{"ES384"} }),
		"leeway over 30 s":  {Issuers: []Issuer{good}, Leeway: 31 * time.Second},
		"negative leeway":   {Issuers: []Issuer{good}, Leeway: -1},
		"negative lifetime": {Issuers: []Issuer{good}, MaxLifetime: -1},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := NewVerifier(cfg); err == nil {
				t.Error("configured")
			}
		})
	}
	if _, err := NewVerifier(VerifierConfig{Issuers: []Issuer{good}}); err != nil {
		t.Errorf("the plain configuration: %v", err)
	}
}

func TestVerifiedClaims(t *testing.T) {
	signer := newEd25519Signer(t)
	verifier := verifierOf(t, keysOf(t, signer))
	confirmation := sha256.Sum256([]byte("certificate"))
	token, err := signer.Mint(MintClaims{
		Issuer: testIssuer, Audience: []string{"other", testAudience}, Subject: "alice", ID: "id-1",
		IssuedAt: testNow.Add(-time.Minute), NotBefore: testNow.Add(-time.Second), Expires: testNow.Add(time.Minute),
		Scopes: []string{"chat:read", "chat:write"}, Rooms: []string{"team-*", "lobby"}, Confirmation: &confirmation,
	})
	if err != nil {
		t.Fatal(err)
	}
	want := &Claims{
		Issuer: testIssuer, Subject: "alice", ID: "id-1", KeyID: signer.KeyID(),
		Audience: []string{"other", testAudience},
		IssuedAt: testNow.Add(-time.Minute), NotBefore: testNow.Add(-time.Second), Expires: testNow.Add(time.Minute),
		Scopes: []string{"chat:read", "chat:write"}, Rooms: []string{"team-*", "lobby"},
		Confirmation: &confirmation, Bound: true,
		key: signer.Key().Public,
	}
	if got := wantAccepted(t, verifier, token); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// What the caller's clock, leeway and lifetime allow, to the second.
func TestTokenTimes(t *testing.T) {
	at := func(offset time.Duration) string { return unix(testNow.Add(offset)) }
	signer := newEd25519Signer(t)
	verifier := newVerifierAt(t, VerifierConfig{
		Issuers:     []Issuer{{Name: testIssuer, Audience: testAudience, Keys: keysOf(t, signer)}},
		MaxLifetime: time.Hour,
		Leeway:      20 * time.Second,
	})
	for name, test := range map[string]struct {
		claims members
		want   Reason // empty: accepted
	}{
		"exp a second ago":                    {members{"iat": at(-time.Minute), "exp": at(-time.Second)}, TokenExpired},
		"exp now: no leeway":                  {members{"iat": at(-time.Minute), "exp": at(0)}, TokenExpired},
		"exp long ago, without iat":           {members{"iat": "", "exp": "1"}, TokenExpired},
		"exp zero":                            {members{"iat": "", "exp": "0"}, TokenExpired},
		"nbf beyond leeway":                   {members{"nbf": at(21 * time.Second)}, TokenNotYetValid},
		"iat beyond leeway":                   {members{"iat": at(21 * time.Second)}, TokenNotYetValid},
		"iat after exp":                       {members{"iat": at(9 * time.Second), "exp": at(8 * time.Second)}, TokenMalformed},
		"lifetime by iat":                     {members{"iat": at(-time.Minute), "exp": at(59*time.Minute + time.Second)}, TokenLifetime},
		"iat far in the past":                 {members{"iat": "1", "exp": at(time.Second)}, TokenLifetime},
		"iat zero is a date":                  {members{"iat": "0", "exp": at(time.Second)}, TokenLifetime},
		"lifetime without iat":                {members{"iat": "", "exp": at(time.Hour + time.Second)}, TokenLifetime},
		"exp in the year 9999":                {members{"exp": "253402300799"}, TokenLifetime},
		"exp in a second":                     {members{"exp": at(time.Second)}, ""},
		"exp with a fraction":                 {members{"exp": at(0) + ".5"}, ""},
		"exp with an exponent":                {members{"iat": "", "exp": "1.7726008e9"}, ""},
		"nbf within leeway":                   {members{"nbf": at(20 * time.Second)}, ""},
		"iat within leeway":                   {members{"iat": at(20 * time.Second)}, ""},
		"the whole lifetime by iat":           {members{"iat": at(-time.Minute), "exp": at(59 * time.Minute)}, ""},
		"the whole lifetime without iat":      {members{"iat": "", "exp": at(time.Hour)}, ""},
		"no iat, though nbf far in the past":  {members{"iat": "", "nbf": "1"}, ""},
		"exp before nbf, within leeway alone": {members{"exp": at(time.Second), "nbf": at(2 * time.Second)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			token := signed(t, signer, plainHeader(signer).json(), plainClaims().with(test.claims).json())
			if test.want != "" {
				wantRefused(t, verifier, token, test.want)
				return
			}
			wantAccepted(t, verifier, token)
		})
	}
}

func TestDefaultLeewayAndLifetime(t *testing.T) {
	signer := newEd25519Signer(t)
	verifier := verifierOf(t, keysOf(t, signer))
	token := func(edits members) string {
		return signed(t, signer, plainHeader(signer).json(), plainClaims().with(edits).json())
	}
	wantRefused(t, verifier, token(members{"nbf": unix(testNow.Add(31 * time.Second))}), TokenNotYetValid)
	wantRefused(t, verifier, token(members{"exp": unix(testNow.Add(24*time.Hour + time.Second))}), TokenLifetime)
	wantAccepted(t, verifier, token(members{"nbf": unix(testNow.Add(30 * time.Second))}))
	wantAccepted(t, verifier, token(members{"exp": unix(testNow.Add(24 * time.Hour))}))
}

// One issuer's key must not sign for another, nor one audience's issuer admit to
// another's.
func TestIssuersAreApart(t *testing.T) {
	ours, theirs := newEd25519Signer(t), newEd25519Signer(t)
	const otherIssuer = "https://other.test"
	verifier := newVerifierAt(t, VerifierConfig{Issuers: []Issuer{
		{Name: testIssuer, Audience: testAudience, Keys: keysOf(t, ours)},
		{Name: otherIssuer, Audience: "other.test", Keys: keysOf(t, theirs), Algorithms: []string{"ES256"}},
	}})
	theirClaims := plainClaims().with(members{"iss": quoted(otherIssuer), "aud": `"other.test"`})

	wantRefused(t, verifier, signed(t, theirs, plainHeader(theirs).json(), plainClaims().json()), TokenKeyUnknown)
	wantRefused(t, verifier, signed(t, theirs, plainHeader(ours).json(), plainClaims().json()), TokenSignature)
	wantRefused(t, verifier, signed(t, theirs, plainHeader(theirs).json(), theirClaims.json()), TokenAlgorithm)
	wantAccepted(t, verifier, signed(t, ours, plainHeader(ours).json(), plainClaims().json()))
}

// failingKeys is a KeySource that has no answer.
type failingKeys struct{ err error }

func (k failingKeys) Key(context.Context, string) (Key, error) { return Key{}, k.err }

func TestKeySourceErrors(t *testing.T) {
	signer := newEd25519Signer(t)
	token := signed(t, signer, plainHeader(signer).json(), plainClaims().json())
	t.Run("an error of any kind is no answer", func(t *testing.T) {
		wantRefused(t, verifierOf(t, failingKeys{errors.New("disk on fire")}), token, KeysUnavailable)
	})
	t.Run("a refusal is passed on whole", func(t *testing.T) {
		refusal := Refuse(KeysUnavailable, nil).After(3 * time.Second)
		_, err := verifierOf(t, failingKeys{refusal}).Verify(t.Context(), token)
		var got *Refusal
		if !errors.As(err, &got) || got.Retry != 3*time.Second || got.Reason.Code() != codes.Unavailable {
			t.Errorf("got %v", err)
		}
	})
}

// RFC 8705 appendix A has this certificate and this thumbprint.
func TestConfirmationOfRFC8705(t *testing.T) {
	const certificate = `-----BEGIN CERTIFICATE-----
MIIBBjCBrAIBAjAKBggqhkjOPQQDAjAPMQ0wCwYDVQQDDARtdGxzMB4XDTE4MTAx
ODEyMzcwOVoXDTIyMDUwMjEyMzcwOVowDzENMAsGA1UEAwwEbXRsczBZMBMGByqG
SM49AgEGCCqGSM49AwEHA0IABNcnyxwqV6hY8QnhxxzFQ03C7HKW9OylMbnQZjjJ
/Au08/coZwxS7LfA4vOLS9WuneIXhbGGWvsDSb0tH6IxLm8wCgYIKoZIzj0EAwID
SQAwRgIhAP0RC1E+vwJD/D1AGHGzuri+hlV/PpQEKTWUVeORWz83AiEA5x2eXZOV
bUlJSGQgjwD5vaUaKlLR50Q2DmFfQj1L+SY=
-----END CERTIFICATE-----`
	block, _ := pem.Decode([]byte(certificate))
	if block == nil {
		t.Fatal("the certificate is not PEM")
	}
	signer := newEd25519Signer(t)
	claims := plainClaims().with(members{"cnf": `{"x5t#S256":"A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0"}`})
	got := wantAccepted(t, verifierOf(t, keysOf(t, signer)), signed(t, signer, plainHeader(signer).json(), claims.json()))
	if !got.Bound || got.Confirmation == nil || *got.Confirmation != sha256.Sum256(block.Bytes) {
		t.Errorf("bound %v, confirmation %x", got.Bound, got.Confirmation)
	}
}

// An error names the kid and the issuer, but never more than a hundred
// characters of them.
func TestCausesAreBounded(t *testing.T) {
	signer := newEd25519Signer(t)
	verifier := verifierOf(t, keysOf(t, signer))
	long := quoted(strings.Repeat("x", 200))
	for name, token := range map[string]string{
		"kid": signed(t, signer, plainHeader(signer).with(members{"kid": long}).json(), plainClaims().json()),
		"iss": signed(t, signer, plainHeader(signer).json(), plainClaims().with(members{"iss": long}).json()),
		"typ": signed(t, signer, plainHeader(signer).with(members{"typ": long}).json(), plainClaims().json()),
	} {
		_, err := verifier.Verify(t.Context(), token)
		if err == nil || len(err.Error()) > 250 || !strings.Contains(err.Error(), strings.Repeat("x", 100)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func benchmarkVerify(b *testing.B, signer *Signer) {
	confirmation := sha256.Sum256([]byte("certificate"))
	token, err := signer.Mint(MintClaims{
		Issuer: testIssuer, Audience: []string{testAudience}, Subject: "alice", IssuedAt: testNow,
		Scopes: []string{"chat:read", "chat:write"}, Rooms: []string{"team-*"}, Confirmation: &confirmation,
	})
	if err != nil {
		b.Fatal(err)
	}
	verifier := verifierOf(b, keysOf(b, signer))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := verifier.Verify(b.Context(), token); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	b.Run("EdDSA", func(b *testing.B) { benchmarkVerify(b, newEd25519Signer(b)) })
	b.Run("ES256", func(b *testing.B) { benchmarkVerify(b, newP256Signer(b)) })
}
