package certs

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestCheck(t *testing.T) {
	now := time.Now()
	ca := newTestCA(t, CAOptions{Depth: 1, NotAfter: now.Add(10 * time.Hour)})
	other := newTestCA(t, CAOptions{Name: "Other"})
	intermediate := must(ca.IssueCA(CAOptions{Name: "Intermediate", NotAfter: now.Add(2 * time.Hour)}))(t)
	leaf := issueUser(t, intermediate, func(c *x509.Certificate) { c.NotAfter = now.Add(5 * time.Hour) }).Certificate()
	chain := []*x509.Certificate{leaf, intermediate.Certificate(), ca.Certificate()}
	byOther := []*x509.Certificate{leaf, other.Certificate()}

	revoking := func(c *x509.Certificate) *Revocations {
		return &Revocations{certificates: map[[32]byte]struct{}{Thumbprint(c): {}}}
	}
	for _, test := range []struct {
		name        string
		roots       *CA
		revocations *Revocations
		chains      [][]*x509.Certificate
		after       time.Duration
		problem     Problem // 0: stands
	}{
		{"no chains", ca, nil, nil, 0, Untrusted},
		{"an empty chain", ca, nil, [][]*x509.Certificate{{}}, 0, Untrusted},
		{"its root has left", other, nil, [][]*x509.Certificate{chain}, 0, Untrusted},
		{"its root has left, and it has expired", other, nil, [][]*x509.Certificate{chain}, 6 * time.Hour, Untrusted},
		{"intermediate expired", ca, nil, [][]*x509.Certificate{chain}, 3 * time.Hour, Expired},
		{"root expired", ca, nil, [][]*x509.Certificate{{issueUser(t, ca, func(c *x509.Certificate) { c.NotAfter = now.Add(20 * time.Hour) }).Certificate(), ca.Certificate()}}, 11 * time.Hour, Expired},
		{"before its time", ca, nil, [][]*x509.Certificate{chain}, -3 * time.Hour, Expired},
		{"leaf revoked", ca, revoking(leaf), [][]*x509.Certificate{chain}, 0, Revoked},
		{"intermediate revoked", ca, revoking(intermediate.Certificate()), [][]*x509.Certificate{chain}, 0, Revoked},
		{"root revoked by fingerprint", ca, revoking(ca.Certificate()), [][]*x509.Certificate{chain}, 0, Revoked},
		{"revoked and untrusted: the furthest counts", ca, revoking(leaf), [][]*x509.Certificate{chain, byOther}, 0, Revoked},
		{"untrusted and revoked: the furthest counts", ca, revoking(leaf), [][]*x509.Certificate{byOther, chain}, 0, Revoked},
		{"stands", ca, nil, [][]*x509.Certificate{chain}, 0, 0},
		{"stands by one of two chains", ca, nil, [][]*x509.Certificate{byOther, chain}, 0, 0},
		{"a foreign certificate is revoked", ca, revoking(other.Certificate()), [][]*x509.Certificate{chain}, 0, 0},
		{"until its last moment", ca, nil, [][]*x509.Certificate{chain}, intermediate.Certificate().NotAfter.Sub(now), 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := must(NewMaterial(nil, []*x509.Certificate{test.roots.Certificate()}, test.revocations))(t)
			err := m.Check(test.chains, now.Add(test.after))
			var check *CheckError
			switch {
			case test.problem == 0 && err != nil:
				t.Error(err)
			case test.problem != 0 && !errors.As(err, &check):
				t.Errorf("%v, want %v", err, test.problem)
			case test.problem != 0 && check.Problem != test.problem:
				t.Errorf("%v: %v, want %v", err, check.Problem, test.problem)
			}
		})
	}
	if got := ValidUntil([][]*x509.Certificate{byOther, chain}); !got.Equal(leaf.NotAfter) {
		t.Errorf("valid until %v, want the end of the longer chain, %v", got, leaf.NotAfter)
	}
	if got := ValidUntil([][]*x509.Certificate{chain}); !got.Equal(intermediate.Certificate().NotAfter) {
		t.Errorf("valid until %v, want the intermediate's end", got)
	}
	if !ValidUntil(nil).IsZero() {
		t.Error("nothing is valid until something")
	}
}

// A root that is renewed with its key is still the same anchor, with a new end.
func TestCheckFollowsARenewedRoot(t *testing.T) {
	now := time.Now()
	ca := newTestCA(t, CAOptions{NotAfter: now.Add(time.Hour)})
	leaf := issueUser(t, ca, func(c *x509.Certificate) { c.NotAfter = now.Add(9 * time.Hour) }).Certificate()
	template := *ca.Certificate()
	template.NotAfter = now.Add(10 * time.Hour)
	template.SerialNumber = must(newSerial())(t)
	der := must(x509.CreateCertificate(rand.Reader, &template, &template, ca.key.Public(), ca.key.(*ecdsa.PrivateKey)))(t)
	renewed := must(x509.ParseCertificate(der))(t)
	m := must(NewMaterial(nil, []*x509.Certificate{renewed}, nil))(t)
	if err := m.Check([][]*x509.Certificate{{leaf, ca.Certificate()}}, now.Add(2*time.Hour)); err != nil {
		t.Error(err)
	}
}

func TestNewMaterialRefuses(t *testing.T) {
	ca := newTestCA(t, CAOptions{})
	forger := newTestCA(t, CAOptions{}) // has ca's name
	roots := []*x509.Certificate{ca.Certificate()}
	mine, yours := issueUser(t, ca, nil), issueUser(t, ca, nil)
	mixed := mine.TLS()
	mixed.PrivateKey = yours.key
	keyless := mine.TLS()
	keyless.PrivateKey = nil
	garbled := mine.TLS()
	garbled.Certificate = append(garbled.Certificate, []byte("garbage"))
	for _, test := range []struct {
		name        string
		pair        *tls.Certificate
		roots       []*x509.Certificate
		revocations *Revocations
		words       string
	}{
		{"another's key", &mixed, roots, nil, "not the certificate's"},
		{"no key", &keyless, roots, nil, "no private key"},
		{"no certificate in the pair", &tls.Certificate{PrivateKey: mine.key}, roots, nil, "empty"},
		{"a chain that does not parse", &garbled, roots, nil, "certificate 2"},
		{"no roots", nil, nil, nil, "no trusted roots"},
		{"a leaf among the roots", nil, []*x509.Certificate{ca.Certificate(), mine.Certificate()}, nil, "not an authority's"},
		{"a forged list", nil, roots, (&Revocations{}).WithCRLs(listOf(t, forger)...), "not signed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := NewMaterial(test.pair, test.roots, test.revocations); err == nil || !strings.Contains(err.Error(), test.words) {
				t.Errorf("%v, want %q", err, test.words)
			}
		})
	}
	// During a change of keys two authorities share a name, and each has a list.
	lists := append(listOf(t, ca), listOf(t, forger)...)
	m, err := NewMaterial(nil, []*x509.Certificate{ca.Certificate(), forger.Certificate()}, (&Revocations{}).WithCRLs(lists...))
	if err != nil {
		t.Fatal(err)
	}
	if m.Material() != m || m.Certificate() != nil || len(m.Roots()) != 2 || m.Revocations() == nil {
		t.Error("the material is not what it was made of")
	}
}
