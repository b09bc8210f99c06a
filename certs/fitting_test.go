package certs

import (
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const ofNobody = "revocation list is of no trusted authority"

// A list in the name of a root but of another key waits for that one's root.
func TestAListWaitsForItsRoot(t *testing.T) {
	again := newTestCA(t, CAOptions{}) // of the same name, with another key
	list := must(again.CRL())(t)
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		m, source, log := f.follow(t, "renamed")
		defer source.Close()
		before := source.Material()
		waysToReplace["renamed"](m, replacement{"crl": list})
		<-time.After(5 * time.Second)
		if source.Material() != before || strings.Count(log.String(), "not signed by that authority") != 1 {
			t.Errorf("in force, or not logged once:\n%s", log)
		}
		wantState(t, source, feedCRL, 1, 1)
		waysToReplace["renamed"](m, replacement{"roots": again.CertificatePEM()})
		<-time.After(time.Second)
		if roots := source.Material().Roots(); len(roots) != 1 || !roots[0].Equal(again.Certificate()) {
			t.Errorf("the pair that fits is not in force:\n%s", log)
		}
		wantState(t, source, feedRoots, 2, 0)
		wantState(t, source, feedCRL, 2, 1)
		if strings.Contains(log.String(), ofNobody) {
			t.Errorf("what fits is complained of:\n%s", log)
		}
	})
}

// Roots do not wait for a list: one that leaves is not trusted from then on,
// however long the list of the one that takes its name is in coming.
func TestRootsDoNotWaitForTheirLists(t *testing.T) {
	for _, strict := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f, again := newFixture(t), newTestCA(t, CAOptions{})
			list := must(again.CRL())(t)
			m, source, log := f.follow(t, "renamed", optionsOf(strict)...)
			defer source.Close()
			old := []*x509.Certificate{must(f.ca.IssueServer([]string{"localhost"}, IssueOptions{}))(t).Certificate(), f.ca.Certificate()}
			fresh := []*x509.Certificate{must(again.IssueServer([]string{"localhost"}, IssueOptions{}))(t).Certificate(), again.Certificate()}

			waysToReplace["renamed"](m, replacement{"roots": again.CertificatePEM()})
			<-time.After(time.Second)
			wantChain(t, source, old, Untrusted)
			if strict {
				wantChain(t, source, fresh, Revoked) // what its authority has revoked is not known
			} else {
				wantChain(t, source, fresh, 0)
			}
			wantState(t, source, feedRoots, 2, 0)
			wantState(t, source, feedCRL, 1, 0)
			if strings.Count(log.String(), ofNobody) != 1 {
				t.Errorf("it is not said once that the list is out of force:\n%s", log)
			}
			<-time.After(time.Hour)
			if strings.Count(log.String(), ofNobody) != 2 {
				t.Errorf("it is not said again:\n%s", log)
			}
			waysToReplace["renamed"](m, replacement{"crl": list})
			<-time.After(time.Second)
			wantChain(t, source, fresh, 0)
			wantState(t, source, feedCRL, 2, 0)
			<-time.After(time.Hour)
			if strings.Count(log.String(), ofNobody) != 2 {
				t.Errorf("it is still said when a list fits:\n%s", log)
			}
		})
	}
	t.Run("beside a forged list", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := newFixture(t)
			list := must(newTestCA(t, CAOptions{}).CRL())(t)
			m, source, log := f.follow(t, "renamed")
			defer source.Close()
			waysToReplace["renamed"](m, replacement{"roots": f.next[feedRoots]["roots"], "crl": list})
			<-time.After(time.Second)
			if !f.sees[feedRoots](source.Material()) {
				t.Errorf("the roots are not in force:\n%s", log)
			}
			wantState(t, source, feedCRL, 1, 1)
		})
	})
}

// An authority leaves the roots, another takes its name, but its key is trusted
// on by way of a third: what its list has revoked stays revoked, whatever fits.
func TestAListThatDoesNotFitRevokesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		anchor, again := newTestCA(t, CAOptions{Name: "Anchor", Depth: 1}), newTestCA(t, CAOptions{})
		template := *f.ca.Certificate()
		template.SerialNumber = nil
		crossed := must(anchor.Issue(&template, f.ca.key))(t).Certificate()
		revoked := must(f.ca.IssueServer([]string{"localhost"}, IssueOptions{}))(t).Certificate()
		must(0, f.ca.Revoke(revoked, KeyCompromise))(t)
		f.first["crl"] = must(f.ca.CRL())(t)
		f.first["roots"] = append(f.ca.CertificatePEM(), anchor.CertificatePEM()...)
		m, source, log := f.follow(t, "renamed")
		defer source.Close()
		chain := []*x509.Certificate{revoked, crossed, anchor.Certificate()}
		wantChain(t, source, chain, Revoked)

		forged := must(newTestCA(t, CAOptions{}).CRL())(t)
		waysToReplace["renamed"](m, replacement{"roots": append(again.CertificatePEM(), anchor.CertificatePEM()...), "crl": forged})
		<-time.After(time.Second)
		wantChain(t, source, []*x509.Certificate{revoked, f.ca.Certificate()}, Untrusted)
		wantChain(t, source, chain, Revoked)
		wantState(t, source, feedRoots, 2, 0)
		wantState(t, source, feedCRL, 1, 1)
		if t.Failed() {
			t.Log(log)
		}
	})
}

func optionsOf(strict bool) (options []FileOption) {
	if strict {
		options = append(options, WithStrictCRLs())
	}
	return options
}

// wantChain wants that to be what is wrong with a chain, 0: nothing.
func wantChain(t *testing.T, source *FileSource, chain []*x509.Certificate, want Problem) {
	t.Helper()
	var got Problem
	err := source.Material().Check([][]*x509.Certificate{chain}, time.Now())
	if failed := (*CheckError)(nil); errors.As(err, &failed) {
		got = failed.Problem
	}
	if got != want {
		t.Errorf("the chain of %q: %v, want %v", chain[0].Subject, err, want)
	}
}
