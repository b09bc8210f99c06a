package certs

import (
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
}

// The last of the chains that stand counts, and of each the first certificate to
// end, the root being the one that is trusted now.
func TestStandsUntil(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	ends := func(after time.Duration) CAOptions { return CAOptions{Depth: 1, NotAfter: now.Add(after)} }
	ca := newTestCA(t, ends(10*time.Hour))
	other := newTestCA(t, ends(5*time.Hour))
	intermediate := must(ca.IssueCA(CAOptions{Name: "Intermediate", NotAfter: now.Add(2 * time.Hour)}))(t)
	leaf := issueUser(t, intermediate, func(c *x509.Certificate) { c.NotAfter = now.Add(9 * time.Hour) }).Certificate()
	chain := []*x509.Certificate{leaf, intermediate.Certificate(), ca.Certificate()}
	byOther := []*x509.Certificate{leaf, other.Certificate()}
	shorter, longer := remade(t, ca, now.Add(time.Hour)), remade(t, ca, now.Add(20*time.Hour))
	for _, test := range []struct {
		name   string
		roots  []*x509.Certificate
		chains [][]*x509.Certificate
		after  time.Duration // how much later than now it is
		want   time.Duration // 0: it does not stand
	}{
		{"no chains", []*x509.Certificate{ca.Certificate()}, nil, 0, 0},
		{"the root is made anew and has ended", []*x509.Certificate{shorter}, [][]*x509.Certificate{chain}, 90 * time.Minute, 0},
		{"the intermediate's end", []*x509.Certificate{ca.Certificate()}, [][]*x509.Certificate{chain}, 0, 2 * time.Hour},
		{"the root's end", []*x509.Certificate{other.Certificate()}, [][]*x509.Certificate{byOther}, 0, 5 * time.Hour},
		{"the leaf's end", []*x509.Certificate{longer}, [][]*x509.Certificate{{leaf, ca.Certificate()}}, 0, 9 * time.Hour},
		{"the root is made anew and ends first", []*x509.Certificate{shorter}, [][]*x509.Certificate{chain}, 0, time.Hour},
		{"both roots are there", []*x509.Certificate{shorter, ca.Certificate()}, [][]*x509.Certificate{chain}, 0, 2 * time.Hour},
		{"both are there, and one has ended", []*x509.Certificate{ca.Certificate(), shorter}, [][]*x509.Certificate{chain}, 90 * time.Minute, 2 * time.Hour},
		{"the last of two chains", []*x509.Certificate{ca.Certificate(), other.Certificate()}, [][]*x509.Certificate{byOther, chain}, 0, 5 * time.Hour},
		{"the one of two that stands", []*x509.Certificate{ca.Certificate()}, [][]*x509.Certificate{byOther, chain}, 0, 2 * time.Hour},
	} {
		m := must(NewMaterial(nil, test.roots, nil))(t)
		until, err := m.StandsUntil(test.chains, now.Add(test.after))
		switch {
		case test.want == 0 && (err == nil || !until.IsZero()):
			t.Errorf("%s: it stands until %v, %v", test.name, until, err)
		case test.want != 0 && (err != nil || !until.Equal(now.Add(test.want))):
			t.Errorf("%s: until %v, %v, want %v", test.name, until, err, now.Add(test.want))
		}
	}
}

// remade is the root's certificate anew, with its key and another end.
func remade(t *testing.T, ca *CA, notAfter time.Time) *x509.Certificate {
	t.Helper()
	template := *ca.Certificate()
	template.NotAfter = notAfter
	template.SerialNumber = must(newSerial())(t)
	der := must(x509.CreateCertificate(rand.Reader, &template, &template, ca.key.Public(), ca.key))(t)
	return must(x509.ParseCertificate(der))(t)
}

// A root that is renewed with its key is still the same anchor, with a new end.
func TestCheckFollowsARenewedRoot(t *testing.T) {
	now := time.Now()
	ca := newTestCA(t, CAOptions{NotAfter: now.Add(time.Hour)})
	leaf := issueUser(t, ca, func(c *x509.Certificate) { c.NotAfter = now.Add(9 * time.Hour) }).Certificate()
	renewed := remade(t, ca, now.Add(10*time.Hour))
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

func TestWithCertificate(t *testing.T) {
	ca := newTestCA(t, CAOptions{})
	first, second := issueUser(t, ca, nil), issueUser(t, ca, nil)
	revocations := (&Revocations{}).WithCRLs(listOf(t, ca)...)
	pair, other := first.TLS(), second.TLS()
	m := must(NewMaterial(&pair, []*x509.Certificate{ca.Certificate()}, revocations))(t)
	mixed := other
	mixed.PrivateKey = first.key
	if _, err := m.WithCertificate(&mixed); err == nil {
		t.Error("it took a certificate with another's key")
	}
	if _, err := (&Material{}).WithCertificate(&other); err == nil {
		t.Error("there is a set without roots")
	}
	with, without := must(m.WithCertificate(&other))(t), must(m.WithCertificate(nil))(t)
	for _, got := range []*Material{with, without} {
		if len(got.Roots()) != 1 || got.Revocations() != revocations {
			t.Error("roots or revocations are not those of before")
		}
	}
	if !with.Certificate().Leaf.Equal(second.Certificate()) || without.Certificate() != nil || !m.Certificate().Leaf.Equal(first.Certificate()) {
		t.Error("the certificates are not those that were given")
	}
}
