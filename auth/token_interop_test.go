package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// Tokens and key sets as another library makes them.
func TestTokensOfGoJOSE(t *testing.T) {
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey := newRSAKey(t, 2048)
	for _, test := range []struct {
		algorithm jose.SignatureAlgorithm
		private   crypto.Signer
	}{
		{jose.EdDSA, edKey}, {jose.ES256, ecKey}, {jose.RS256, rsaKey}, {jose.PS256, rsaKey},
	} {
		t.Run(string(test.algorithm), func(t *testing.T) {
			jwks, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
				{Key: test.private.Public(), KeyID: "k", Algorithm: string(test.algorithm), Use: "sig"},
			}})
			if err != nil {
				t.Fatal(err)
			}
			keys, err := ParseKeySet(jwks)
			if err != nil {
				t.Fatal(err)
			}
			signer, err := jose.NewSigner(
				jose.SigningKey{Algorithm: test.algorithm, Key: jose.JSONWebKey{Key: test.private, KeyID: "k"}},
				(&jose.SignerOptions{}).WithType("at+jwt"))
			if err != nil {
				t.Fatal(err)
			}
			token, err := jwt.Signed(signer).Claims(jwt.Claims{
				Issuer: testIssuer, Subject: "alice", Audience: jwt.Audience{testAudience}, ID: "id",
				IssuedAt: jwt.NewNumericDate(testNow), Expiry: jwt.NewNumericDate(testNow.Add(time.Hour)),
			}).Claims(map[string]any{"scope": "chat:read"}).Serialize()
			if err != nil {
				t.Fatal(err)
			}
			claims := wantAccepted(t, verifierOf(t, keys, string(test.algorithm)), token)
			if claims.Subject != "alice" || claims.ID != "id" || len(claims.Scopes) != 1 {
				t.Errorf("claims %+v", claims)
			}
		})
	}
}

// What we mint, another library verifies with the key set that we publish.
func TestMintedTokensInGoJOSE(t *testing.T) {
	for _, signer := range []*Signer{newEd25519Signer(t), newP256Signer(t)} {
		token, err := signer.Mint(MintClaims{Issuer: testIssuer, Audience: []string{testAudience}, Subject: "alice", IssuedAt: testNow})
		if err != nil {
			t.Fatal(err)
		}
		text, err := signer.JWKS()
		if err != nil {
			t.Fatal(err)
		}
		var keys jose.JSONWebKeySet
		if err := json.Unmarshal(text, &keys); err != nil {
			t.Fatal(err)
		}
		parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.EdDSA, jose.ES256})
		if err != nil {
			t.Fatal(err)
		}
		var claims jwt.Claims
		if err := parsed.Claims(keys, &claims); err != nil {
			t.Fatal(err)
		}
		expected := jwt.Expected{Issuer: testIssuer, Subject: "alice", AnyAudience: jwt.Audience{testAudience}, Time: testNow}
		if err := claims.ValidateWithLeeway(expected, 0); err != nil {
			t.Error(err)
		}
		thumbprint, err := keys.Keys[0].Thumbprint(crypto.SHA256)
		if err != nil || segment(string(thumbprint)) != signer.KeyID() {
			t.Errorf("kid %s, though the thumbprint is %s, %v", signer.KeyID(), segment(string(thumbprint)), err)
		}
	}
}
