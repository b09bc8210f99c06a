package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"strings"
	"testing"
	"time"
)

func TestSigningKeysRefused(t *testing.T) {
	pkcs8 := func(key any) string {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good, err := newEd25519Signer(t).PEM()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"empty":           "",
		"no PEM":          "key",
		"a public key":    "-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----\n",
		"another label":   strings.ReplaceAll(string(good), "PRIVATE KEY", "EC PRIVATE KEY"),
		"not PKCS #8":     string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")})),
		"P-384":           pkcs8(p384),
		"RSA":             pkcs8(newRSAKey(t, 2048)),
		"two keys":        string(good) + string(good),
		"something after": string(good) + "x",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := ParseSigningKey([]byte(text)); err == nil {
				t.Error("accepted")
			}
		})
	}
	if _, err := NewSigner(ed25519.PrivateKey("short")); err == nil {
		t.Error("an Ed25519 key of 5 bytes is accepted")
	}
}

func TestSigningKeysKeptAsPEM(t *testing.T) {
	for _, signer := range []*Signer{newEd25519Signer(t), newP256Signer(t)} {
		text, err := signer.PEM()
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseSigningKey(text)
		if err != nil {
			t.Fatal(err)
		}
		if again.KeyID() != signer.KeyID() {
			t.Errorf("kid %s became %s", signer.KeyID(), again.KeyID())
		}
		token, err := again.Mint(MintClaims{Issuer: testIssuer, Audience: []string{testAudience}, Subject: "alice", IssuedAt: testNow})
		if err != nil {
			t.Fatal(err)
		}
		wantAccepted(t, verifierOf(t, keysOf(t, signer)), token)
	}
}

// RFC 8037 appendix A has this key (A.1) and its thumbprint (A.3).
func TestKeyIDOfRFC8037(t *testing.T) {
	seed, err := base64.RawURLEncoding.DecodeString("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := NewSigner(ed25519.NewKeyFromSeed(seed))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := signer.KeyID(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"; got != want {
		t.Errorf("kid %s, want %s", got, want)
	}
}

func TestMintRefuses(t *testing.T) {
	signer := newEd25519Signer(t)
	for name, claims := range map[string]MintClaims{
		"no issuer":             {Audience: []string{"a"}, Subject: "alice"},
		"no audience":           {Issuer: "i", Subject: "alice"},
		"no subject":            {Issuer: "i", Audience: []string{"a"}},
		"the service's subject": {Issuer: "i", Audience: []string{"a"}, Subject: "Server"},
	} {
		if _, err := signer.Mint(claims); err == nil {
			t.Errorf("%s: minted", name)
		}
	}
}

func TestMintDefaults(t *testing.T) {
	signer := newEd25519Signer(t)
	verifier, err := NewVerifier(VerifierConfig{
		Issuers: []Issuer{{Name: testIssuer, Audience: testAudience, Keys: keysOf(t, signer)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for range 2 {
		token, err := signer.Mint(MintClaims{Issuer: testIssuer, Audience: []string{testAudience}, Subject: "alice"})
		if err != nil {
			t.Fatal(err)
		}
		claims := wantAccepted(t, verifier, token)
		if claims.ID == "" || seen[claims.ID] {
			t.Errorf("jti %q is not new", claims.ID)
		}
		seen[claims.ID] = true
		if lifetime := claims.Expires.Sub(claims.IssuedAt); lifetime != time.Hour {
			t.Errorf("lifetime %v", lifetime)
		}
		if claims.Bound || claims.Confirmation != nil || !claims.NotBefore.IsZero() || len(claims.Scopes)+len(claims.Rooms) != 0 {
			t.Errorf("claims that nobody asked for: %+v", claims)
		}
	}
}
