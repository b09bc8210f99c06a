package certs

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"
)

func TestParseRevocationsRefuses(t *testing.T) {
	for _, test := range []struct{ name, text, words string }{
		{"unknown kind", "\n\nuser bob\n", "line 3"},
		{"no value", "jti", "value is missing"},
		{"only a comment for a value", "jti # lost", "value is missing"},
		{"capital kind", "JTI 42", "not a kind of entry"},
		// It would revoke a token that nobody has.
		{"comment without its mark", "jti 42 lost laptop", "double quotes"},
		{"something after a quoted value", `jti "42" lost`, "follows the value"},
		{"quotes that do not close", `subject "bob`, "do not close"},
		{"quoted nothing", `subject ""`, "not a string"},
		{"short fingerprint", "certificate abcd", "64 hexadecimal"},
		{"fingerprint that is not hexadecimal", "certificate " + strings.Repeat("x", 64), "64 hexadecimal"},
		{"time that is none", "subject bob before noon", "RFC3339|2006-01-02T15:04:05Z"},
		{"time without zone", "subject bob before 2026-05-03T12:00:00", "2006-01-02T15:04:05Z"},
		{"time missing", "subject bob before", "2006-01-02T15:04:05Z"},
		{"time and more", "subject bob before 2026-05-03T12:00:00Z please", "2006-01-02T15:04:05Z"},
		{"capital before", "subject bob Before 2026-05-03T12:00:00Z", "2006-01-02T15:04:05Z"},
		{"after", `subject "bob" after 2026-05-03T12:00:00Z`, "2006-01-02T15:04:05Z"},
		{"bytes that are no text", "subject \xff", "UTF-8"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := ParseRevocations([]byte(test.text))
			if err == nil || !strings.Contains(err.Error(), "line ") {
				t.Fatalf("%v", err)
			}
			for word := range strings.SplitSeq(test.words, "|") {
				if strings.Contains(err.Error(), word) {
					return
				}
			}
			t.Errorf("%q does not say %q", err, test.words)
		})
	}
}

func TestParseRevocations(t *testing.T) {
	sum := sha256.Sum256([]byte("a certificate"))
	plain := hex.EncodeToString(sum[:])
	var colons []string
	for i := 0; i < len(plain); i += 2 {
		colons = append(colons, strings.ToUpper(plain[i:i+2]))
	}
	for _, fingerprint := range []string{plain, strings.Join(colons, ":")} {
		r := must(ParseRevocations([]byte("certificate " + fingerprint + " # lost\r\n")))(t)
		if _, found := r.certificates[sum]; !found {
			t.Errorf("%s is not revoked", fingerprint)
		}
	}

	noon := time.Date(2026, 5, 3, 12, 0, 0, 0, time.UTC)
	r := must(ParseRevocations([]byte("\ufeff# a comment\n\n" +
		"  jti\t42 # leaked\n" +
		`jti "two words # here"` + "\n" +
		"jti x#y\n" +
		"subject Ann Lee\n" +
		"subject bob before 2026-05-03T14:00:00+02:00 # left\n" +
		"subject cy before 2026-05-03T12:00:00Z\nsubject cy\nsubject cy before 2026-05-03T11:00:00Z\n" +
		"subject di before 2026-05-03T11:00:00Z\nsubject di before 2026-05-03T12:00:00Z\n" +
		`subject "the day before" before 2026-05-03T12:00:00Z` + "\n" +
		"subject Ame\u0301lie")))(t)
	for jti, want := range map[string]bool{"42": true, "two words # here": true, "x#y": true, "43": false, "": false, "two": false} {
		if r.Token(jti) != want {
			t.Errorf("token %q revoked: %v", jti, !want)
		}
	}
	for _, test := range []struct {
		name   string
		issued time.Time
		want   bool
	}{
		{"Ann Lee", noon, true},
		{"Ann", noon, false},
		{"bob", noon.Add(-time.Second), true},
		{"bob", noon, false}, // issued at the very time is not before it
		{"bob", time.Time{}, true},
		{"cy", noon.Add(time.Hour), true},
		{"di", noon.Add(-time.Second), true},
		{"di", noon, false},
		{"the day before", noon.Add(-time.Second), true},
		{"the day", noon.Add(-time.Second), false},
		{"Am\u00e9lie", noon, true}, // names are compared in normal form C
		{"eve", time.Time{}, false},
	} {
		if got := r.Subject(test.name, test.issued); got != test.want {
			t.Errorf("subject %q issued %v revoked: %v", test.name, test.issued, got)
		}
	}
}

func TestNoRevocations(t *testing.T) {
	var none *Revocations
	ca := newTestCA(t, CAOptions{})
	if none.Token("x") || none.Subject("x", time.Time{}) || none.Certificate(ca.Certificate(), ca.Certificate()) || none.Stale(time.Now()) != nil {
		t.Error("nothing revokes something")
	}
	leaf := issueUser(t, ca, nil).Certificate()
	if err := ca.Revoke(leaf, Unspecified); err != nil {
		t.Fatal(err)
	}
	r := none.WithCRLs(listOf(t, ca)...)
	if !r.Certificate(leaf, ca.Certificate()) || r.Certificate(leaf, nil) {
		t.Error("a list counts with its issuer, and only so")
	}
}

// A CRL in PEM with what the template has, signed by the authority.
func crlText(t *testing.T, ca *CA, template *x509.RevocationList) []byte {
	t.Helper()
	template.Number = big.NewInt(1)
	template.ThisUpdate = time.Now()
	template.NextUpdate = time.Now().Add(time.Hour)
	der := must(x509.CreateRevocationList(rand.Reader, template, ca.certificate, ca.key))(t)
	return pem.EncodeToMemory(&pem.Block{Type: blockCRL, Bytes: der})
}

func TestParseCRLs(t *testing.T) {
	ca := newTestCA(t, CAOptions{})
	good := must(ca.CRL())(t)
	with := func(id asn1.ObjectIdentifier, value []byte) []byte {
		return crlText(t, ca, &x509.RevocationList{ExtraExtensions: []pkix.Extension{{Id: id, Critical: true, Value: value}}})
	}
	entry := crlText(t, ca, &x509.RevocationList{RevokedCertificateEntries: []x509.RevocationListEntry{{
		SerialNumber: big.NewInt(7), RevocationTime: time.Now(),
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 29}, Critical: true, Value: []byte{0x30, 0}}},
	}}})
	point := asn1.ObjectIdentifier{2, 5, 29, 28}
	for _, test := range []struct {
		name  string
		text  []byte
		words string
	}{
		{"nothing", nil, "no revocation list"},
		{"a certificate", ca.CertificatePEM(), `"CERTIFICATE"`},
		{"garbage in PEM", pem.EncodeToMemory(&pem.Block{Type: blockCRL, Bytes: []byte("garbage")}), "does not parse"},
		{"cut off", good[:len(good)-30], "cut off"},
		{"the second cut off", append(bytes.Clone(good), good[:len(good)-30]...), "1 of 2"},
		{"the first damaged", append(bytes.Replace(good, []byte("\nM"), []byte("\n!"), 1), good...), "1 of 2"},
		{"delta", with(asn1.ObjectIdentifier{2, 5, 29, 27}, []byte{2, 1, 1}), "delta"},
		{"indirect", with(point, []byte{0x30, 3, 0x84, 1, 0xff}), "indirect"},
		{"issuing point that does not parse", with(point, []byte{0x04, 0}), "does not parse"},
		{"unknown critical extension", with(asn1.ObjectIdentifier{1, 2, 3}, []byte{5, 0}), "1.2.3"},
		{"entry of another authority", entry, "critical extension"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := ParseCRLs(test.text); err == nil || !strings.Contains(err.Error(), test.words) {
				t.Errorf("%v, want %q", err, test.words)
			}
		})
	}
	// Text around the blocks is fine, and so is a list of users' certificates only.
	text := append([]byte("Here is a list:\n"), good...)
	text = append(text, with(point, []byte{0x30, 3, 0x81, 1, 0xff})...)
	if lists := must(ParseCRLs(text))(t); len(lists) != 2 {
		t.Errorf("%d lists", len(lists))
	}
}

func FuzzParseRevocations(f *testing.F) {
	f.Add([]byte("jti 42 # c\nsubject bob before 2026-05-03T12:00:00Z\n"))
	f.Add([]byte("certificate " + strings.Repeat("ab", 32)))
	f.Add([]byte("subject \"a \\\" b\"\r\n# \xff"))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := ParseRevocations(text)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "line ") {
				t.Errorf("%v does not name the line", err)
			}
			return
		}
		// Nothing that is an entry may be passed over.
		entries := 0
		for line := range bytes.Lines(bytes.TrimPrefix(text, []byte("\ufeff"))) {
			if trimmed := bytes.TrimSpace(line); len(trimmed) > 0 && trimmed[0] != '#' {
				entries++
			}
		}
		found := len(r.certificates) + len(r.tokens) + len(r.subjects)
		if found > entries || entries > 0 && found == 0 {
			t.Errorf("%d entries of %d lines", found, entries)
		}
	})
}

func FuzzParsePEM(f *testing.F) {
	ca, err := NewCA(CAOptions{})
	if err != nil {
		f.Fatal(err)
	}
	key, err := keyPEM(ca.key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(ca.CertificatePEM())
	f.Add(ca.crl)
	f.Add(key)
	f.Add(append(ca.CertificatePEM(), ca.crl...))
	f.Fuzz(func(t *testing.T, text []byte) {
		if certificates, err := ParseCertificates(text); err == nil && len(certificates) == 0 {
			t.Error("no certificate and no error")
		}
		if lists, err := ParseCRLs(text); err == nil && len(lists) == 0 {
			t.Error("no list and no error")
		}
		if key, err := ParseKey(text); err == nil && key == nil {
			t.Error("no key and no error")
		}
		if reports, err := Inspect(text); err == nil && len(reports) == 0 {
			t.Error("no report and no error")
		}
	})
}
