package auth

import (
	"strings"
	"testing"
)

// Every token here has a good signature by a trusted key: what is refused is
// what it says.

func TestHeaderDenials(t *testing.T) {
	signer := newEd25519Signer(t)
	verifier := verifierOf(t, keysOf(t, signer))
	plain := plainHeader(signer)
	for _, test := range []struct {
		name   string
		header string
		want   Reason
	}{
		{"empty", ``, TokenMalformed},
		{"no JSON", `alg`, TokenMalformed},
		{"an array", `["alg"]`, TokenMalformed},
		{"null", `null`, TokenMalformed},
		{"something after the object", plain.json() + `{}`, TokenMalformed},
		{"half an object", strings.TrimSuffix(plain.json(), "}"), TokenMalformed},
		{"byte order mark", "\uFEFF" + plain.json(), TokenMalformed},
		{"invalid UTF-8", plain.with(members{"x": "\"\xff\""}).json(), TokenMalformed},
		{"half a surrogate pair", plain.with(members{"x": `"\ud800"`}).json(), TokenMalformed},
		{"nested too deep", plain.with(members{"x": strings.Repeat(`[`, 8) + strings.Repeat(`]`, 8)}).json(), TokenMalformed},

		// The last of two wins in encoding/json, the first elsewhere.
		{"alg twice", `{"alg":"none",` + plain.json()[1:], TokenMalformed},
		{"kid twice", `{"kid":"other",` + plain.json()[1:], TokenMalformed},
		{"unknown member twice", `{"x":1,"x":1,` + plain.json()[1:], TokenMalformed},
		{"one name in two spellings", `{"\u0061lg":"none",` + plain.json()[1:], TokenMalformed},
		{"member twice in depth", plain.with(members{"x": `{"y":{"z":1,"z":2}}`}).json(), TokenMalformed},

		// encoding/json takes these for the known member.
		{"Alg beside alg", plain.with(members{"Alg": `"none"`}).json(), TokenMalformed},
		{"KID alone", plain.with(members{"kid": "", "KID": quoted(signer.keyID)}).json(), TokenMalformed},
		{"kid with the Kelvin sign", plain.with(members{"\u212Aid": `"x"`}).json(), TokenMalformed},
		{"Typ", plain.with(members{"Typ": `"x"`}).json(), TokenMalformed},
		{"CRIT", plain.with(members{"CRIT": `["exp"]`}).json(), TokenMalformed},
		{"JWK", plain.with(members{"JWK": `{}`}).json(), TokenMalformed},

		{"crit unknown", plain.with(members{"crit": `["x"]`, "x": `1`}).json(), TokenCritical},
		{"crit exp", plain.with(members{"crit": `["exp"]`, "exp": `1`}).json(), TokenCritical},
		{"crit b64", plain.with(members{"crit": `["b64"]`, "b64": `false`}).json(), TokenCritical},
		{"crit empty", plain.with(members{"crit": `[]`}).json(), TokenCritical},
		{"crit null", plain.with(members{"crit": `null`}).json(), TokenCritical},
		{"b64 without crit", plain.with(members{"b64": `false`}).json(), TokenMalformed},
		{"zip", plain.with(members{"zip": `"DEF"`}).json(), TokenMalformed},
		{"enc", plain.with(members{"enc": `"A128GCM"`}).json(), TokenMalformed},
		{"jku", plain.with(members{"jku": `"https://attacker.test/keys"`}).json(), TokenMalformed},
		{"x5u", plain.with(members{"x5u": `"https://attacker.test/cert"`}).json(), TokenMalformed},
		{"x5c", plain.with(members{"x5c": `["MIIB"]`}).json(), TokenMalformed},
		{"jwk", plain.with(members{"jwk": `{"kty":"OKP"}`}).json(), TokenMalformed},

		// A token made for another purpose (RFC 8725 section 3.11).
		{"typ of a logout token", plain.with(members{"typ": `"logout+jwt"`}).json(), TokenType},
		{"typ of a DPoP proof", plain.with(members{"typ": `"dpop+jwt"`}).json(), TokenType},
		{"typ JOSE", plain.with(members{"typ": `"JOSE"`}).json(), TokenType},
		{"typ of another tree", plain.with(members{"typ": `"text/jwt"`}).json(), TokenType},
		{"typ with a space", plain.with(members{"typ": `"JWT "`}).json(), TokenType},
		{"typ empty", plain.with(members{"typ": `""`}).json(), TokenType},
		{"typ a number", plain.with(members{"typ": `1`}).json(), TokenMalformed},
		{"typ null", plain.with(members{"typ": `null`}).json(), TokenMalformed},

		{"alg missing", plain.with(members{"alg": ``}).json(), TokenMalformed},
		{"alg null", plain.with(members{"alg": `null`}).json(), TokenMalformed},
		{"alg an array", plain.with(members{"alg": `["EdDSA"]`}).json(), TokenMalformed},
		{"alg empty", plain.with(members{"alg": `""`}).json(), TokenMalformed},
		{"alg in another case", plain.with(members{"alg": `"eddsa"`}).json(), TokenAlgorithm},

		{"kid missing", plain.with(members{"kid": ``}).json(), TokenMalformed},
		{"kid empty", plain.with(members{"kid": `""`}).json(), TokenMalformed},
		{"kid a number", plain.with(members{"kid": `1`}).json(), TokenMalformed},
		{"kid too long", plain.with(members{"kid": quoted(strings.Repeat("k", 257))}).json(), TokenMalformed},
		{"kid a path", plain.with(members{"kid": `"../../../../dev/null"`}).json(), TokenKeyUnknown},
		{"kid SQL", plain.with(members{"kid": `"x' UNION SELECT 'key"`}).json(), TokenKeyUnknown},
		{"kid with NUL", plain.with(members{"kid": quoted(signer.keyID + "\x00")}).json(), TokenKeyUnknown},
	} {
		t.Run(test.name, func(t *testing.T) {
			wantRefused(t, verifier, signed(t, signer, test.header, plainClaims().json()), test.want)
		})
	}
}

func TestHeadersAccepted(t *testing.T) {
	signer := newEd25519Signer(t)
	verifier := verifierOf(t, keysOf(t, signer))
	for name, edits := range map[string]members{
		"typ JWT":                {},
		"typ absent":             {"typ": ""},
		"typ at+jwt":             {"typ": `"at+jwt"`},
		"typ as whole type":      {"typ": `"application/at+jwt"`},
		"typ in another case":    {"typ": `"AT+JWT"`},
		"cty, which has no rule": {"cty": `"json"`},
		"a digest of some chain": {"x5t#S256": `"abc"`},
		"unknown member, nested": {"x": strings.Repeat(`[`, 7) + strings.Repeat(`]`, 7)},
		"white space within":     {"x": "1\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			wantAccepted(t, verifier, signed(t, signer, plainHeader(signer).with(edits).json(), plainClaims().json()))
		})
	}
}

func TestClaimDenials(t *testing.T) {
	signer := newEd25519Signer(t)
	verifier := verifierOf(t, keysOf(t, signer))
	plain := plainClaims()
	for _, test := range []struct {
		name   string
		claims string
		want   Reason
	}{
		{"empty", ``, TokenMalformed},
		{"no JSON", `iss`, TokenMalformed},
		{"a string", `"iss"`, TokenMalformed},
		{"a token inside the token", segment(`{}`) + "." + segment(`{}`) + ".", TokenMalformed},
		{"something after the object", plain.json() + ` x`, TokenMalformed},
		{"invalid UTF-8", plain.with(members{"sub": "\"al\xc3ice\""}).json(), TokenMalformed},
		{"half a surrogate pair", plain.with(members{"sub": `"al\ud83dice"`}).json(), TokenMalformed},
		{"nested too deep", plain.with(members{"x": strings.Repeat(`{"x":`, 8) + `1` + strings.Repeat(`}`, 8)}).json(), TokenMalformed},

		{"sub twice", `{"sub":"mallory",` + plain.json()[1:], TokenMalformed},
		{"unknown claim twice", `{"x":1,"x":2,` + plain.json()[1:], TokenMalformed},
		{"claim twice in depth", plain.with(members{"x": `[{"y":1,"y":2}]`}).json(), TokenMalformed},
		{"Sub beside sub", plain.with(members{"Sub": `"mallory"`}).json(), TokenMalformed},
		{"ISS", plain.with(members{"ISS": `"x"`}).json(), TokenMalformed},
		{"Aud", plain.with(members{"Aud": `"x"`}).json(), TokenMalformed},
		{"EXP", plain.with(members{"EXP": `1`}).json(), TokenMalformed},
		{"Nbf", plain.with(members{"Nbf": `1`}).json(), TokenMalformed},
		{"Iat", plain.with(members{"Iat": `1`}).json(), TokenMalformed},
		{"Jti", plain.with(members{"Jti": `"x"`}).json(), TokenMalformed},
		{"Cnf", plain.with(members{"Cnf": `{}`}).json(), TokenMalformed},
		{"scope with a long s", plain.with(members{"\u017Fcope": `"chat:admin"`}).json(), TokenMalformed},
		{"Rooms", plain.with(members{"Rooms": `["*"]`}).json(), TokenMalformed},

		{"iss missing", plain.with(members{"iss": ``}).json(), TokenMalformed},
		{"iss empty", plain.with(members{"iss": `""`}).json(), TokenMalformed},
		{"iss an array", plain.with(members{"iss": `["` + testIssuer + `"]`}).json(), TokenMalformed},
		{"iss null", plain.with(members{"iss": `null`}).json(), TokenMalformed},
		{"iss another", plain.with(members{"iss": `"https://attacker.test"`}).json(), TokenIssuer},
		{"iss with a slash more", plain.with(members{"iss": quoted(testIssuer + "/")}).json(), TokenIssuer},
		{"iss in another case", plain.with(members{"iss": quoted(strings.ToUpper(testIssuer))}).json(), TokenIssuer},

		{"aud missing", plain.with(members{"aud": ``}).json(), TokenMalformed},
		{"aud null", plain.with(members{"aud": `null`}).json(), TokenMalformed},
		{"aud a number", plain.with(members{"aud": `1`}).json(), TokenMalformed},
		{"aud an object", plain.with(members{"aud": `{"chat.test":true}`}).json(), TokenMalformed},
		{"aud empty", plain.with(members{"aud": `""`}).json(), TokenMalformed},
		{"aud with a number in it", plain.with(members{"aud": `["chat.test",1]`}).json(), TokenMalformed},
		{"aud an empty array", plain.with(members{"aud": `[]`}).json(), TokenAudience},
		{"aud another", plain.with(members{"aud": `"other.test"`}).json(), TokenAudience},
		{"aud in another case", plain.with(members{"aud": `"Chat.test"`}).json(), TokenAudience},
		{"aud that begins like ours", plain.with(members{"aud": `["chat.test.evil","chat"]`}).json(), TokenAudience},

		{"exp missing", plain.with(members{"exp": ``}).json(), TokenMalformed},
		{"exp null", plain.with(members{"exp": `null`}).json(), TokenMalformed},
		{"exp a string", plain.with(members{"exp": `"` + plain["exp"] + `"`}).json(), TokenMalformed},
		{"exp true", plain.with(members{"exp": `true`}).json(), TokenMalformed},
		{"exp an array", plain.with(members{"exp": `[` + plain["exp"] + `]`}).json(), TokenMalformed},
		{"exp NaN", plain.with(members{"exp": `NaN`}).json(), TokenMalformed},
		{"exp infinite", plain.with(members{"exp": `1e400`}).json(), TokenMalformed},
		{"exp beyond int64", plain.with(members{"exp": `9223372036854775808`}).json(), TokenMalformed},
		{"exp in the year 10000", plain.with(members{"exp": `253402300800`}).json(), TokenMalformed},
		{"exp in the year 10000 by a fraction", plain.with(members{"exp": `253402300799.5`}).json(), TokenMalformed},
		{"exp negative", plain.with(members{"exp": `-1`}).json(), TokenMalformed},
		{"nbf a string", plain.with(members{"nbf": `"1"`}).json(), TokenMalformed},
		{"nbf null", plain.with(members{"nbf": `null`}).json(), TokenMalformed},
		{"nbf negative", plain.with(members{"nbf": `-0.5`}).json(), TokenMalformed},
		{"iat a string", plain.with(members{"iat": `"1"`}).json(), TokenMalformed},
		{"iat in the year 10000", plain.with(members{"iat": `1e12`}).json(), TokenMalformed},

		{"sub missing", plain.with(members{"sub": ``}).json(), TokenMalformed},
		{"sub a number", plain.with(members{"sub": `1`}).json(), TokenMalformed},
		{"sub empty", plain.with(members{"sub": `""`}).json(), TokenMalformed},
		{"sub with NUL", plain.with(members{"sub": `"alice\u0000"`}).json(), TokenSubject},
		{"sub with a line end", plain.with(members{"sub": `"alice\nadmin"`}).json(), TokenSubject},
		{"sub with an escape sequence", plain.with(members{"sub": `"\u001b[31malice"`}).json(), TokenSubject},
		{"sub too long", plain.with(members{"sub": quoted(strings.Repeat("a", 65))}).json(), TokenSubject},
		{"sub of the service", plain.with(members{"sub": `"server"`}).json(), TokenSubject},

		{"jti a number", plain.with(members{"jti": `1`}).json(), TokenMalformed},
		{"jti empty", plain.with(members{"jti": `""`}).json(), TokenMalformed},
		{"jti too long", plain.with(members{"jti": quoted(strings.Repeat("j", 257))}).json(), TokenMalformed},
		{"scope an array", plain.with(members{"scope": `["chat:read"]`}).json(), TokenMalformed},
		{"scope with a tab", plain.with(members{"scope": `"chat:read\tchat:admin"`}).json(), TokenMalformed},
		{"scope not ASCII", plain.with(members{"scope": `"chat:reäd"`}).json(), TokenMalformed},
		{"rooms a string", plain.with(members{"rooms": `"*"`}).json(), TokenMalformed},
		{"rooms of numbers", plain.with(members{"rooms": `[1]`}).json(), TokenMalformed},
		{"rooms with an empty one", plain.with(members{"rooms": `[""]`}).json(), TokenMalformed},
		{"rooms with a long one", plain.with(members{"rooms": `["` + strings.Repeat("r", 129) + `"]`}).json(), TokenMalformed},
		{"rooms too many", plain.with(members{"rooms": `["r"` + strings.Repeat(`,"r"`, 100) + `]`}).json(), TokenMalformed},

		{"cnf a string", plain.with(members{"cnf": `"x"`}).json(), TokenMalformed},
		{"cnf null", plain.with(members{"cnf": `null`}).json(), TokenMalformed},
		{"cnf with X5T#S256", plain.with(members{"cnf": `{"X5T#S256":"A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0"}`}).json(), TokenMalformed},
		// Bound to what cannot be verified here.
		{"cnf empty", plain.with(members{"cnf": `{}`}).json(), TokenBinding},
		{"cnf of a DPoP key", plain.with(members{"cnf": `{"jkt":"A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0"}`}).json(), TokenBinding},
		{"cnf a number", plain.with(members{"cnf": `{"x5t#S256":1}`}).json(), TokenBinding},
		{"cnf of 31 bytes", plain.with(members{"cnf": `{"x5t#S256":"` + segment(strings.Repeat("x", 31)) + `"}`}).json(), TokenBinding},
		{"cnf of 33 bytes", plain.with(members{"cnf": `{"x5t#S256":"` + segment(strings.Repeat("x", 33)) + `"}`}).json(), TokenBinding},
		{"cnf in hexadecimal", plain.with(members{"cnf": `{"x5t#S256":"` + strings.Repeat("ab", 32) + `"}`}).json(), TokenBinding},
		{"cnf padded", plain.with(members{"cnf": `{"x5t#S256":"A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0="}`}).json(), TokenBinding},
		{"cnf with stray bits", plain.with(members{"cnf": `{"x5t#S256":"A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v1"}`}).json(), TokenBinding},
	} {
		t.Run(test.name, func(t *testing.T) {
			wantRefused(t, verifier, signed(t, signer, plainHeader(signer).json(), test.claims), test.want)
		})
	}
}

func TestClaimsAccepted(t *testing.T) {
	signer := newEd25519Signer(t)
	verifier := verifierOf(t, keysOf(t, signer))
	for name, edits := range map[string]members{
		"aud an array":         {"aud": `["other.test","chat.test"]`},
		"sub of 64 bytes":      {"sub": quoted(strings.Repeat("a", 64))},
		"sub not ASCII":        {"sub": `"Zoë 李"`},
		"jti of 256 bytes":     {"jti": quoted(strings.Repeat("j", 256))},
		"scope empty":          {"scope": `""`},
		"scope, spaced widely": {"scope": `" chat:read  chat:write "`},
		"rooms at the bounds":  {"rooms": `["` + strings.Repeat("r", 128) + `"` + strings.Repeat(`,"r"`, 99) + `]`},
		"cnf with more in it":  {"cnf": `{"x5t#S256":"A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0","x":1}`},
		"unknown claims":       {"azp": `"x"`, "realm_access": `{"roles":["a"]}`},
	} {
		t.Run(name, func(t *testing.T) {
			wantAccepted(t, verifier, signed(t, signer, plainHeader(signer).json(), plainClaims().with(edits).json()))
		})
	}
}
