package certs

import (
	"crypto/x509"
	"testing"
)

func TestExpiries(t *testing.T) {
	ca := newTestCA(t, CAOptions{Depth: 1})
	intermediate := must(ca.IssueCA(CAOptions{Name: "Intermediate"}))(t)
	issued := issueUser(t, intermediate, nil)
	pair := issued.TLS()
	list := listOf(t, ca)
	m := must(NewMaterial(&pair, []*x509.Certificate{ca.Certificate()}, (&Revocations{}).WithCRLs(list...)))(t)
	want := []Expiry{
		{"certificate", "CN=alice", serialText(issued.Certificate().SerialNumber), issued.Certificate().NotAfter},
		{"chain", "CN=Intermediate", serialText(intermediate.Certificate().SerialNumber), intermediate.Certificate().NotAfter},
		{"root", "CN=" + DefaultCAName, serialText(ca.Certificate().SerialNumber), ca.Certificate().NotAfter},
		{"crl", "CN=" + DefaultCAName, "1", list[0].NextUpdate},
	}
	got := m.Expiries()
	if len(got) != len(want) {
		t.Fatalf("%+v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%+v, want %+v", got[i], want[i])
		}
	}
}
