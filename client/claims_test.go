package client

import (
	"encoding/base64"
	"strings"
	"testing"

	"securechat/auth/authtest"
	"securechat/certs"
)

func TestBindingOf(t *testing.T) {
	with := func(payload string) string {
		return "e30." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".c2ln"
	}
	digest := strings.Repeat("A", 43)
	for _, token := range []string{
		"", "opaque", "a.b", "e30.!.x", with("1"), with("{}"), with(`{"cnf":{}}`), with(`{"cnf":"x"}`), with(`{"cnf":{"jkt":"` + digest + `"}}`),
		with(`{"cnf":{"x5t#S256":1}}`), with(`{"cnf":{"x5t#S256":"` + digest + `A"}}`), with(`{"cnf":{"x5t#S256":"` + digest + `="}}`), with(`{"cnf":{"x5t#S256":"` + digest[1:] + `"}}`),
	} {
		if _, bound := bindingOf(token); bound {
			t.Errorf("%q is bound to a certificate", token)
		}
	}
	user := authtest.NewRealm(t).User("alice")
	if got, bound := bindingOf(user.Token); !bound || got != certs.Thumbprint(user.Leaf()) {
		t.Errorf("got %x, %v", got, bound)
	}
}

func FuzzClaims(f *testing.F) {
	f.Add(`{"exp":1,"cnf":{"x5t#S256":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}}`)
	f.Add(`{"exp":"x","cnf":[]}`)
	f.Add("")
	f.Fuzz(func(t *testing.T, payload string) {
		token := "e30." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".c2ln"
		if expires, known := expiryOf(token); known && expires.Unix() < 0 {
			t.Errorf("expires at %v", expires)
		}
		if _, bound := bindingOf(token); bound && !strings.Contains(payload, "{") {
			t.Error("bound without a claim")
		}
		_, _ = expiryOf(payload)
		_, _ = bindingOf(payload)
	})
}
