package certs

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// san is one subject alternative name, byte for byte.
type san struct {
	tag   int
	value string
}

// leafWith has these names as its extension, as no library would normalise them.
func leafWith(t testing.TB, names ...san) *x509.Certificate {
	t.Helper()
	var raw []asn1.RawValue
	for _, name := range names {
		raw = append(raw, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: name.tag, Bytes: []byte(name.value)})
	}
	value, err := asn1.Marshal(raw)
	if err != nil {
		t.Fatal(err)
	}
	return &x509.Certificate{
		Subject:    pkix.Name{CommonName: "alice"},
		Extensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: value}},
	}
}

func TestIdentifyRefuses(t *testing.T) {
	uri := func(value string) []san { return []san{{tagURI, value}} }
	for _, test := range []struct {
		name   string
		kind   Kind
		domain string
		names  []san
	}{
		{"common name only", URI, "", nil},
		{"common name only, for DNS", DNS, "", nil},
		{"names of other kinds", URI, "", []san{{tagDNS, "alice.example"}, {tagEmail, "alice@example.org"}}},
		{"two identities", URI, "", []san{{tagURI, "spiffe://td/user/alice"}, {tagURI, "spiffe://td/user/bob"}}},
		{"one identity twice", URI, "", []san{{tagURI, "spiffe://td/user/alice"}, {tagURI, "spiffe://td/user/alice"}}},
		{"a second URI of another scheme", URI, "", []san{{tagURI, "spiffe://td/user/alice"}, {tagURI, "https://td/"}}},
		{"another trust domain", URI, "td", uri("spiffe://other/user/alice")},
		{"a trust domain that begins the same", URI, "td", uri("spiffe://td.evil/user/alice")},
		{"empty", URI, "", uri("")},
		{"another scheme", URI, "", uri("https://td/user/alice")},
		{"capital scheme", URI, "", uri("SPIFFE://td/user/alice")},
		{"capital trust domain", URI, "", uri("spiffe://TD/user/alice")},
		{"empty trust domain", URI, "", uri("spiffe:///user/alice")},
		{"port", URI, "", uri("spiffe://td:443/user/alice")},
		{"userinfo", URI, "", uri("spiffe://x@td/user/alice")},
		{"non-ASCII trust domain", URI, "", uri("spiffe://t\u0501/user/alice")},
		{"encoded trust domain", URI, "", uri("spiffe://t%64/user/alice")},
		{"long trust domain", URI, "", uri("spiffe://" + strings.Repeat("a", 256) + "/user/alice")},
		{"query", URI, "", uri("spiffe://td/user/alice?x")},
		{"empty query", URI, "", uri("spiffe://td/user/alice?")},
		{"fragment", URI, "", uri("spiffe://td/user/alice#x")},
		{"empty fragment", URI, "", uri("spiffe://td/user/alice#")},
		{"encoded name", URI, "", uri("spiffe://td/user/%61lice")},
		{"encoded path", URI, "", uri("spiffe://td/%75ser/alice")},
		{"encoded slash", URI, "", uri("spiffe://td/user/a%2fb")},
		{"no path", URI, "", uri("spiffe://td")},
		{"root path", URI, "", uri("spiffe://td/")},
		{"no name", URI, "", uri("spiffe://td/user/")},
		{"no name and no slash", URI, "", uri("spiffe://td/user")},
		{"trailing slash", URI, "", uri("spiffe://td/user/alice/")},
		{"longer path", URI, "", uri("spiffe://td/user/alice/admin")},
		{"double slash", URI, "", uri("spiffe://td//user/alice")},
		{"double slash before the name", URI, "", uri("spiffe://td/user//alice")},
		{"dot", URI, "", uri("spiffe://td/user/.")},
		{"dots", URI, "", uri("spiffe://td/user/..")},
		{"dots in between", URI, "", uri("spiffe://td/user/../user/alice")},
		{"another path", URI, "", uri("spiffe://td/ns/default/sa/alice")},
		{"capital path", URI, "", uri("spiffe://td/User/alice")},
		{"space", URI, "", uri("spiffe://td/user/al ice")},
		{"leading space", URI, "", uri(" spiffe://td/user/alice")},
		{"newline", URI, "", uri("spiffe://td/user/alice\n")},
		{"NUL", URI, "", uri("spiffe://td/user/alice\x00bob")},
		{"non-ASCII name", URI, "", uri("spiffe://td/user/\u0430lice")},
		{"longest name and one", URI, "", uri("spiffe://td/user/" + strings.Repeat("a", 65))},
		{"long", URI, "", uri("spiffe://td/user/" + strings.Repeat("a", 2048))},

		{"two DNS names", DNS, "", []san{{tagDNS, "a.example"}, {tagDNS, "b.example"}}},
		{"wildcard", DNS, "", []san{{tagDNS, "*.example"}}},
		{"trailing dot", DNS, "", []san{{tagDNS, "a.example."}}},
		{"empty label", DNS, "", []san{{tagDNS, "a..example"}}},
		{"NUL in DNS", DNS, "", []san{{tagDNS, "a.example\x00.evil"}}},
		{"non-ASCII DNS", DNS, "", []san{{tagDNS, "\u212a.example"}}}, // lower-cases to an ASCII k
		{"empty DNS", DNS, "", []san{{tagDNS, ""}}},
		{"two addresses", Email, "", []san{{tagEmail, "a@example.org"}, {tagEmail, "b@example.org"}}},
		{"no at sign", Email, "", []san{{tagEmail, "example.org"}}},
		{"two at signs", Email, "", []san{{tagEmail, "a@b@example.org"}}},
		{"no local part", Email, "", []san{{tagEmail, "@example.org"}}},
		{"no domain", Email, "", []san{{tagEmail, "a@"}}},
		{"quoted", Email, "", []san{{tagEmail, `"a b"@example.org`}}},
		{"display name", Email, "", []san{{tagEmail, "A <a@example.org>"}}},
		{"newline in address", Email, "", []san{{tagEmail, "a\n@example.org"}}},
		{"unknown kind", Kind(7), "", uri("spiffe://td/user/alice")},
	} {
		t.Run(test.name, func(t *testing.T) {
			leaf := leafWith(t, test.names...)
			if test.names == nil {
				leaf.Extensions = nil
			}
			if name, err := Identify(leaf, test.kind, test.domain); err == nil {
				t.Errorf("is %+v", name)
			}
		})
	}
}

func TestIdentifyRefusesBrokenExtensions(t *testing.T) {
	id := asn1.ObjectIdentifier{2, 5, 29, 17}
	good := leafWith(t, san{tagURI, "spiffe://td/user/alice"}).Extensions[0]
	for name, extensions := range map[string][]pkix.Extension{
		"two extensions":       {good, leafWith(t, san{tagDNS, "a"}).Extensions[0]},
		"not a sequence":       {{Id: id, Value: []byte{4, 0}}},
		"cut off":              {{Id: id, Value: good.Value[:len(good.Value)-1]}},
		"trailing bytes":       {{Id: id, Value: append(append([]byte(nil), good.Value...), 0)}},
		"a name of no context": {{Id: id, Value: []byte{0x30, 2, 4, 0}}},
	} {
		if got, err := Identify(&x509.Certificate{Extensions: extensions}, URI, ""); err == nil {
			t.Errorf("%s: is %+v", name, got)
		}
	}
}

func TestIdentify(t *testing.T) {
	for _, test := range []struct {
		kind   Kind
		domain string
		names  []san
		want   Name
	}{
		{URI, "", []san{{tagURI, "spiffe://td/user/alice"}}, Name{URI, "spiffe://td/user/alice", "alice", "td"}},
		{URI, "a-b_c.d0", []san{{tagURI, "spiffe://a-b_c.d0/user/Al.Ice_0-9"}}, Name{URI, "spiffe://a-b_c.d0/user/Al.Ice_0-9", "Al.Ice_0-9", "a-b_c.d0"}},
		// Names of other kinds are nobody's, however many.
		{URI, "td", []san{{tagDNS, "a"}, {tagURI, "spiffe://td/user/..."}, {tagDNS, "b"}, {tagEmail, "x"}}, Name{URI, "spiffe://td/user/...", "...", "td"}},
		{DNS, "td", []san{{tagDNS, "Alice.Example"}, {tagURI, "spiffe://td/user/bob"}}, Name{DNS, "alice.example", "alice.example", ""}},
		{Email, "", []san{{tagEmail, "Alice+chat@Example.org"}}, Name{Email, "Alice+chat@example.org", "Alice+chat@example.org", ""}},
	} {
		got, err := Identify(leafWith(t, test.names...), test.kind, test.domain)
		if err != nil || got != test.want {
			t.Errorf("%v: %+v, %v", test.names, got, err)
		}
	}
}

// The text of an identity kind is what configuration files and flags have.
func TestKindText(t *testing.T) {
	for _, kind := range []Kind{URI, DNS, Email} {
		text := must(json.Marshal(kind))(t)
		var back Kind
		if err := json.Unmarshal(text, &back); err != nil || back != kind {
			t.Errorf("%v became %s and %v: %v", kind, text, back, err)
		}
	}
	for _, text := range []string{"", "URI", "cn", "uri "} {
		if kind, err := ParseKind(text); err == nil {
			t.Errorf("%q is %v", text, kind)
		}
	}
	if _, err := Kind(9).MarshalText(); err == nil {
		t.Error("an unknown kind has a text")
	}
}

var canonical = regexp.MustCompile(`^spiffe://([a-z0-9._-]{1,255})/user/([A-Za-z0-9._-]{1,64})$`)

func FuzzIdentify(f *testing.F) {
	for _, seed := range []string{"spiffe://td/user/alice", "spiffe://TD/user/a", "spiffe://td/user/..", "spiffe://td:1/user/a?b#c", "spiffe://td/user/%61"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		name, err := Identify(leafWith(t, san{tagURI, value}), URI, "")
		match := canonical.FindStringSubmatch(value)
		good := match != nil && match[2] != "." && match[2] != ".."
		if (err == nil) != good {
			t.Fatalf("%q: %+v, %v", value, name, err)
		}
		if err != nil {
			return
		}
		if name.Value != value || name.User != match[2] || name.TrustDomain != match[1] {
			t.Errorf("%q: %+v", value, name)
		}
		parsed, err := url.Parse(value)
		if err != nil || parsed.String() != value || parsed.Host != name.TrustDomain || parsed.Path != userPath+name.User {
			t.Errorf("%q reads otherwise as a URL: %v, %v", value, parsed, err)
		}
	})
}

func FuzzAlternativeNames(f *testing.F) {
	f.Add(leafWith(f, san{tagURI, "spiffe://td/user/alice"}, san{tagDNS, "a"}).Extensions[0].Value)
	f.Fuzz(func(t *testing.T, value []byte) {
		leaf := &x509.Certificate{Extensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: value}}}
		for _, kind := range []Kind{URI, DNS, Email} {
			if name, err := Identify(leaf, kind, ""); err == nil && name.User == "" {
				t.Errorf("%v: %+v", kind, name)
			}
		}
	})
}
