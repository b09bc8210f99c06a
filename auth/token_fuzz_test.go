package auth

import (
	"strings"
	"testing"
)

// Of all the texts that a fuzzer makes of two good tokens, none is accepted but
// what was signed.
func FuzzVerify(f *testing.F) {
	ed, ec := newEd25519Signer(f), newP256Signer(f)
	verifier := verifierOf(f, keysOf(f, ed, ec))
	genuine := map[string]bool{}
	for _, signer := range []*Signer{ed, ec} {
		token := signed(f, signer, plainHeader(signer).json(), plainClaims().json())
		genuine[token[:strings.LastIndex(token, ".")]] = true
		f.Add(token)
		f.Add(token + "=")
		f.Add(token + "\n")
		f.Add(strings.ToUpper(token))
		f.Add(token[:len(token)-1])
		f.Add(segment(plainHeader(signer).with(members{"alg": `"none"`}).json()) + "." + segment(plainClaims().json()) + ".")
	}
	f.Add("..")
	f.Fuzz(func(t *testing.T, token string) {
		claims, err := verifier.Verify(t.Context(), token)
		if err != nil {
			if _, ok := ReasonOf(err); !ok || claims != nil {
				t.Fatalf("%q: refused with %v and claims %v", token, err, claims)
			}
			return
		}
		if !genuine[token[:strings.LastIndex(token, ".")]] || claims.Subject != "alice" {
			t.Fatalf("accepted: %q", token)
		}
	})
}

// Whatever a trusted issuer signs, what is accepted of it keeps the rules.
func FuzzSignedTokens(f *testing.F) {
	signer := newEd25519Signer(f)
	verifier := verifierOf(f, keysOf(f, signer))
	header := plainHeader(signer).json()
	f.Add(header, plainClaims().json())
	f.Add(header, plainClaims().with(members{"cnf": `{"x5t#S256":"A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0"}`}).json())
	f.Add(plainHeader(signer).with(members{"crit": `[]`}).json(), plainClaims().with(members{"rooms": `["*"]`, "scope": `"a b"`}).json())
	f.Fuzz(func(t *testing.T, header, payload string) {
		claims, err := verifier.Verify(t.Context(), signed(t, signer, header, payload))
		if err != nil {
			return
		}
		switch {
		case claims.Issuer != testIssuer || claims.KeyID != signer.KeyID() || CheckName(claims.Subject) != nil,
			!claims.Expires.After(testNow) || claims.Expires.Sub(testNow) > defaultMaxLifetime+maxLeeway,
			claims.IssuedAt.Sub(testNow) > maxLeeway || claims.NotBefore.Sub(testNow) > maxLeeway,
			claims.Bound != (claims.Confirmation != nil):
			t.Fatalf("%q %q: accepted as %+v", header, payload, claims)
		}
	})
}
