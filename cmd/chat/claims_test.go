package main

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

const thumbprint = "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"

func jws(payload string) string {
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".sig"
}

func TestReadClaimsRefused(t *testing.T) {
	for token, words := range map[string]string{
		"":                             "three parts",
		"a.b":                          "three parts",
		"a.b.c.d":                      "three parts",
		"a.!.c":                        "base64url",
		jws(`[]`):                      "wrong type",
		jws(`{"sub":1}`):               `"sub" is of a wrong type`,
		jws(`{"exp":"tomorrow"}`):      "JSON object of the usual claims",
		jws(`{"exp":253402300800}`):    "JSON object of the usual claims",
		jws(`{"exp":-1}`):              "JSON object of the usual claims",
		jws(`{"aud":{}}`):              "wrong type",
		jws(`{"sub":"secret-subject"`): "JSON object",
	} {
		c := readClaims(token, thumbprint)
		if !strings.Contains(c.Problem, words) || c.Bound != boundNone || c.Subject != "" {
			t.Errorf("%q: got %+v, want %q", token, c, words)
		}
		if strings.Contains(c.Problem, "secret") {
			t.Errorf("%q: a claim is in %q", token, c.Problem)
		}
	}
}

func TestReadClaims(t *testing.T) {
	c := readClaims(jws(`{"sub":"alice","iss":"i","aud":"a","jti":"1","scope":"s","rooms":["r"],"iat":1,"exp":2.5,"cnf":{"x5t#S256":"`+thumbprint+`"}}`), thumbprint)
	if c.Problem != "" || c.Subject != "alice" || c.Audience[0] != "a" || c.Expires.Unix() != 2 || c.IssuedAt.Unix() != 1 || c.Bound != boundHere {
		t.Errorf("got %+v", c)
	}
	for payload, want := range map[string]string{`{}`: boundNone, `{"cnf":{}}`: boundNone, `{"cnf":{"x5t#S256":"x"}}`: boundOther} {
		if got := readClaims(jws(payload), thumbprint).Bound; got != want {
			t.Errorf("%s: got %q, want %q", payload, got, want)
		}
	}
	if c := readClaims(jws(`{"aud":["a","b"]}`), thumbprint); len(c.Audience) != 2 {
		t.Errorf("got %+v", c)
	}
}

func FuzzReadClaims(f *testing.F) {
	f.Add(`{"sub":"alice","exp":1e9}`)
	f.Add(`{"aud":["a",1]}`)
	f.Add(`{"exp":1e400}`)
	f.Fuzz(func(t *testing.T, payload string) {
		if _, err := json.Marshal(readClaims(jws(payload), thumbprint)); err != nil {
			t.Fatalf("what was read cannot be shown: %v", err)
		}
		readClaims(payload, thumbprint)
	})
}

func TestUntil(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	for left, want := range map[time.Duration]string{
		-time.Second:         "(expired 1 seconds ago)",
		0:                    "(expired 0 seconds ago)",
		119 * time.Second:    "(for another 119 seconds)",
		2 * time.Minute:      "(for another 2 minutes)",
		119 * time.Minute:    "(for another 119 minutes)",
		47 * time.Hour:       "(for another 47 hours)",
		90 * 24 * time.Hour:  "(for another 90 days)",
		-49 * 24 * time.Hour: "(expired 49 days ago)",
	} {
		if got := until(now.Add(left), now); !strings.HasSuffix(got, want) {
			t.Errorf("%v: got %q, want %q", left, got, want)
		}
	}
	if got := until(time.Time{}, now); got != "" {
		t.Errorf("no time: got %q", got)
	}
}
