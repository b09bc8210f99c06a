package certs

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"slices"
	"strings"
	"testing"
)

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func TestParseKey(t *testing.T) {
	ec := must(newKey())(t)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey := must(rsa.GenerateKey(rand.Reader, 2048))(t)
	pkcs8 := must(x509.MarshalPKCS8PrivateKey(ec))(t)
	sec1 := must(x509.MarshalECPrivateKey(ec))(t)
	agreement := must(x509.MarshalPKCS8PrivateKey(must(ecdh.X25519().GenerateKey(rand.Reader))(t)))(t)
	for _, test := range []struct {
		name  string
		text  []byte
		words string
	}{
		{"nothing", nil, "no private key"},
		{"a certificate", newTestCA(t, CAOptions{}).CertificatePEM(), `"CERTIFICATE"`},
		{"encrypted", block(blockEncrypted, []byte("x")), "decrypt it"},
		{"encrypted in the old way", pem.EncodeToMemory(&pem.Block{Type: blockECKey, Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES"}, Bytes: sec1}), "decrypt it"},
		{"two keys", append(block(blockKey, pkcs8), block(blockECKey, sec1)...), "more than"},
		{"damaged", block(blockKey, pkcs8[:40]), "does not parse"},
		{"of another form than it says", block(blockRSAKey, sec1), "does not parse"},
		{"for key agreement", block(blockKey, agreement), "cannot sign"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := ParseKey(test.text)
			if err == nil || !strings.Contains(err.Error(), test.words) {
				t.Errorf("%v, want %q", err, test.words)
			}
		})
	}
	for name, text := range map[string][]byte{
		"PKCS #8":         block(blockKey, pkcs8),
		"SEC 1":           append(block(blockECParams, []byte{6, 0}), block(blockECKey, sec1)...),
		"PKCS #1":         block(blockRSAKey, x509.MarshalPKCS1PrivateKey(rsaKey)),
		"Ed25519 PKCS #8": block(blockKey, must(x509.MarshalPKCS8PrivateKey(ed))(t)),
	} {
		key, err := ParseKey(text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if public, ok := key.Public().(*ecdsa.PublicKey); ok && !public.Equal(ec.Public()) {
			t.Errorf("%s is another key", name)
		}
	}
}

func TestInspect(t *testing.T) {
	ca := newTestCA(t, CAOptions{TrustDomain: "example.org"})
	alice := must(ca.IssueUser("alice", IssueOptions{}))(t)
	server := must(ca.IssueServer([]string{"chat.example", "::1"}, IssueOptions{}))(t)
	if err := ca.Revoke(alice.Certificate(), KeyCompromise); err != nil {
		t.Fatal(err)
	}
	text := slices.Concat(alice.ChainPEM(), server.ChainPEM(), must(ca.CRL())(t))
	reports := must(Inspect(text))(t)
	if len(reports) != 3 {
		t.Fatalf("%d reports", len(reports))
	}
	sum := Thumbprint(alice.Certificate())
	a, s, crl := reports[0].Certificate, reports[1].Certificate, reports[2].CRL
	if a.Identity != "spiffe://example.org/user/alice" || a.User != "alice" || a.CA || !slices.Equal(a.Usages, []string{"clientAuth"}) || a.Key != "ECDSA P-256" ||
		a.SHA256 != hex.EncodeToString(sum[:]) || a.Thumbprint != base64.RawURLEncoding.EncodeToString(sum[:]) {
		t.Errorf("alice: %+v", a)
	}
	if s.Identity != "" || s.NoIdentity != "" || !slices.Equal(s.DNS, []string{"chat.example"}) || !slices.Equal(s.IPs, []string{"::1"}) {
		t.Errorf("server: %+v", s)
	}
	if crl.Number != "2" || len(crl.Revoked) != 1 || crl.Revoked[0].Serial != a.Serial || crl.Revoked[0].Reason != KeyCompromise {
		t.Errorf("list: %+v", crl)
	}
	for name, text := range map[string][]byte{"nothing": nil, "a key": must(alice.KeyPEM())(t), "garbage": block(blockCertificate, []byte("x"))} {
		if _, err := Inspect(text); err == nil {
			t.Errorf("%s was inspected", name)
		}
	}
}
