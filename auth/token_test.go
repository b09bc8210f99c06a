package auth

import "testing"

func TestMintedTokenIsVerified(t *testing.T) {
	signer, err := NewSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	jwks, err := signer.JWKS()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := ParseKeySet(jwks)
	if err != nil {
		t.Fatal(err)
	}
	v, err := NewVerifier(VerifierConfig{Issuers: []Issuer{{Name: "i", Audience: "a", Keys: keys}}})
	if err != nil {
		t.Fatal(err)
	}
	token, err := signer.Mint(MintClaims{Issuer: "i", Audience: []string{"a"}, Subject: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(t.Context(), token); err != nil {
		t.Fatal(err)
	}
}
