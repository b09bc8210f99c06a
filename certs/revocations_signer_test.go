package certs

import (
	"crypto/rand"
	"crypto/x509"
	"math/big"
	"sync"
	"testing"
	"time"
)

// withoutCRLSign is an intermediate of root whose keyUsage lets it sign
// certificates and no lists, as careless authorities make them.
func withoutCRLSign(t *testing.T, root *CA) *CA {
	t.Helper()
	intermediate := must(root.IssueCA(CAOptions{Name: "Intermediate"}))(t)
	template := *intermediate.certificate
	template.KeyUsage = x509.KeyUsageCertSign
	template.SerialNumber = nil
	intermediate.certificate = must(root.Issue(&template, intermediate.key))(t).Certificate()
	if intermediate.certificate.KeyUsage != x509.KeyUsageCertSign {
		t.Fatalf("the intermediate may %b", intermediate.certificate.KeyUsage)
	}
	return intermediate
}

// signedList is a list in the name of one authority, signed with the key of
// another, that holds these certificates.
func signedList(t *testing.T, name, key *CA, revoked ...*x509.Certificate) *x509.RevocationList {
	t.Helper()
	signer := *name.certificate
	signer.KeyUsage |= x509.KeyUsageCRLSign // crypto/x509 makes no list without it
	signer.PublicKey = key.key.Public()
	signer.SubjectKeyId = key.certificate.SubjectKeyId
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour)}
	for _, c := range revoked {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: time.Now()})
	}
	der := must(x509.CreateRevocationList(rand.Reader, template, &signer, key.key))(t)
	return must(x509.ParseRevocationList(der))(t)
}

// damaged is the list with a signature that does not hold.
func damaged(list *x509.RevocationList) *x509.RevocationList {
	result := *list
	result.Signature = append([]byte(nil), list.Signature...)
	result.Signature[len(result.Signature)-1] ^= 1
	return &result
}

func TestListsByTheKeyOfTheIssuer(t *testing.T) {
	root := newTestCA(t, CAOptions{Depth: 1})
	issuer := withoutCRLSign(t, root)
	next := must(root.IssueCA(CAOptions{Name: "Intermediate"}))(t) // the issuer after a change of keys
	leaf := issueUser(t, issuer, nil).Certificate()
	other := issueUser(t, issuer, nil).Certificate()
	chain := [][]*x509.Certificate{{leaf, issuer.certificate, root.certificate}}

	genuine := func(revoked ...*x509.Certificate) *x509.RevocationList {
		return signedList(t, issuer, issuer, revoked...)
	}
	forged := signedList(t, issuer, next, leaf)
	forged.AuthorityKeyId = issuer.certificate.SubjectKeyId // which a forger writes too
	unnamed := signedList(t, issuer, next, leaf)
	unnamed.AuthorityKeyId = nil

	for _, test := range []struct {
		name            string
		lists           []*x509.RevocationList
		refused         bool
		refusedIfStrict bool
	}{
		// What an authority's own key says counts, whatever its certificate lets it sign.
		{"on the issuer's list", []*x509.RevocationList{genuine(leaf)}, true, true},
		{"on one of its lists", []*x509.RevocationList{genuine(), genuine(leaf)}, true, true},
		{"on its list, beside a damaged one", []*x509.RevocationList{damaged(genuine()), genuine(leaf)}, true, true},
		// Nobody can say what a list held that is not as it was signed.
		{"a damaged list", []*x509.RevocationList{damaged(genuine())}, false, true},
		{"a damaged list beside a good one", []*x509.RevocationList{genuine(), damaged(genuine(leaf))}, false, true},
		{"a forged list", []*x509.RevocationList{forged}, false, true},
		{"a forged list beside a good one", []*x509.RevocationList{genuine(), forged}, false, true},
		{"a list of nobody's key beside a good one", []*x509.RevocationList{genuine(), unnamed}, false, true},
		{"only the list of the issuer's next key", []*x509.RevocationList{signedList(t, next, next)}, false, true},
		// During a change of keys each key has its list.
		{"the lists of both keys", []*x509.RevocationList{genuine(other), signedList(t, next, next, leaf)}, false, false},
		{"not on its list", []*x509.RevocationList{genuine(other)}, false, false},
		{"the list of another authority", []*x509.RevocationList{signedList(t, root, root)}, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			revocations := (&Revocations{}).WithCRLs(test.lists...)
			if got := revocations.Certificate(leaf, issuer.certificate); got != test.refused {
				t.Errorf("revoked: %v, want %v", got, test.refused)
			}
			for _, kind := range []struct {
				name        string
				revocations *Revocations
				refused     bool
			}{{"as usual", revocations, test.refused}, {"strict", revocations.Strict(), test.refusedIfStrict}} {
				m := must(NewMaterial(nil, []*x509.Certificate{root.certificate}, kind.revocations))(t)
				err := m.Check(chain, time.Now())
				problem, _ := ProblemOf(err)
				if refused := problem == Revoked; refused != kind.refused || !refused && err != nil {
					t.Errorf("%s: %v, want refused: %v", kind.name, err, kind.refused)
				}
			}
		})
	}
}

// A root without cRLSign has lists too.
func TestListOfARootThatMaySignNone(t *testing.T) {
	root := newTestCA(t, CAOptions{})
	leaf := issueUser(t, root, nil).Certificate()
	template := *root.certificate
	template.KeyUsage = x509.KeyUsageCertSign
	der := must(x509.CreateCertificate(rand.Reader, &template, &template, root.key.Public(), root.key))(t)
	root.certificate = must(x509.ParseCertificate(der))(t)
	m := must(NewMaterial(nil, []*x509.Certificate{root.certificate}, (&Revocations{}).WithCRLs(signedList(t, root, root, leaf))))(t)
	if problem, _ := ProblemOf(m.Check([][]*x509.Certificate{{leaf, root.certificate}}, time.Now())); problem != Revoked {
		t.Errorf("a certificate on the list is %v", problem)
	}
}

// A signature over a list of megabytes is verified once, not at each handshake
// and for each stream.
func TestSignatureOfAListIsVerifiedOnce(t *testing.T) {
	root := newTestCA(t, CAOptions{Depth: 1})
	issuer := withoutCRLSign(t, root)
	leaf := issueUser(t, issuer, nil).Certificate()
	revocations := (&Revocations{}).WithCRLs(signedList(t, issuer, issuer, leaf)).Strict()
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if !revocations.Certificate(leaf, issuer.certificate) {
				t.Error("not revoked")
			}
		})
	}
	group.Wait()
	// Were it verified again, it would not hold any more.
	known := revocations.lists[string(issuer.certificate.RawSubject)][0]
	known.Signature[len(known.Signature)-1] ^= 1
	if !revocations.Certificate(leaf, issuer.certificate) || !revocations.WithCRLs().Certificate(leaf, issuer.certificate) {
		t.Error("the signature was verified again")
	}
	// Another key of the same name has a verdict of its own.
	impostor := newTestCA(t, CAOptions{Name: "Intermediate"})
	if revocations.Certificate(leaf, impostor.certificate) {
		t.Error("the verdict on one key was taken for another's")
	}
}

// The keys that one name had are remembered up to a bound, and judged beyond it.
func TestVerdictsAreBounded(t *testing.T) {
	issuer := newTestCA(t, CAOptions{Name: "Busy"})
	leaf := issueUser(t, issuer, nil).Certificate()
	revocations := (&Revocations{}).WithCRLs(listOf(t, issuer)...).WithCRLs(signedList(t, issuer, issuer, leaf))
	for range 2 * maxVerdicts {
		if revocations.Certificate(leaf, newTestCA(t, CAOptions{Name: "Busy"}).certificate) {
			t.Error("a list counts for a key that did not sign it")
		}
	}
	if !revocations.Certificate(leaf, issuer.certificate) {
		t.Error("the key that signed the list is not known for it")
	}
	for _, l := range revocations.lists[string(issuer.certificate.RawSubject)] {
		if len(l.verdicts) > maxVerdicts {
			t.Errorf("%d verdicts are kept", len(l.verdicts))
		}
	}
}
