package certs

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"
	"time"
)

// issuedBelow is what an authority issues after the template, with what a client
// would send after it.
func issuedBelow(t *testing.T, issuer *CA, template *x509.Certificate) *tls.Certificate {
	t.Helper()
	pair := must(issuer.Issue(template, nil))(t).TLS()
	return &pair
}

// subordinate is an authority below ca whose certificate is spoilt.
func subordinate(t *testing.T, ca *CA, spoil func(*x509.Certificate)) *CA {
	t.Helper()
	template := must(CAOptions{Name: "Subordinate"}.template())(t)
	spoil(template)
	issued := must(ca.Issue(template, nil))(t)
	return &CA{certificate: issued.Certificate(), chain: issued.chain, key: issued.key, clock: time.Now}
}

// What a chain allows to be issued below it counts, whatever a client sends along.
func TestServerRefusesChains(t *testing.T) {
	ca := newTestCA(t, CAOptions{Depth: 2})
	rogue := newTestCA(t, CAOptions{Name: "Rogue"})
	alice := issueUser(t, ca, nil)
	// A user's key that signs for another user.
	byUser := &CA{certificate: alice.Certificate(), chain: alice.chain, key: alice.key, clock: time.Now}
	shallow := must(ca.IssueCA(CAOptions{Name: "Shallow"}))(t) // no authority may stand below it
	deep := subordinate(t, shallow, func(*x509.Certificate) {})
	withRoot := issuedBelow(t, rogue, userTemplate(nil))
	withRoot.Certificate = append(withRoot.Certificate, rogue.Certificate().Raw, ca.Certificate().Raw)

	for _, test := range []struct {
		name string
		pair *tls.Certificate
	}{
		{"signed by a user", issuedBelow(t, byUser, userTemplate(nil))},
		{"deeper than the authority may go", issuedBelow(t, deep, userTemplate(nil))},
		{"outside the names that are permitted", issuedBelow(t, subordinate(t, ca, func(c *x509.Certificate) {
			c.PermittedURIDomains, c.PermittedDNSDomainsCritical = []string{"team.example"}, true
		}), userTemplate(nil))},
		{"of a name that is excluded", issuedBelow(t, subordinate(t, ca, func(c *x509.Certificate) {
			c.ExcludedURIDomains, c.PermittedDNSDomainsCritical = []string{DefaultTrustDomain}, true
		}), userTemplate(nil))},
		{"by an authority for servers", issuedBelow(t, subordinate(t, ca, func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}), userTemplate(nil))},
		{"by an authority that has ended", issuedBelow(t, subordinate(t, ca, func(c *x509.Certificate) {
			c.NotAfter = time.Now().Add(-time.Minute)
		}), userTemplate(nil))},
		{"with an extension that is critical and unknown", issuedBelow(t, ca, userTemplate(func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
		}))},
		{"with a root of the client's own beside the trusted one", withRoot},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, clientErr, serverErr := shake(t, ServerCredentials(serverMaterial(t, ca, nil)), tlsHandshake(bareClient(ca, test.pair)))
			if problem, ok := ProblemOf(serverErr); !ok || clientErr == nil {
				t.Errorf("the server says %v (%v), the client %v", serverErr, problem, clientErr)
			}
		})
	}
}

// An authority whose certificate is revoked does not stand by another certificate
// that a client makes for its key, and does by one of another trusted root.
func TestCrossSignedAuthorities(t *testing.T) {
	first, second := newTestCA(t, CAOptions{Name: "First", Depth: 1}), newTestCA(t, CAOptions{Name: "Second", Depth: 1})
	rogue := newTestCA(t, CAOptions{Name: "Second", Depth: 1}) // has the name of one that is trusted
	issuer := must(first.IssueCA(CAOptions{Name: "Issuer"}))(t)
	leaf := issuedBelow(t, issuer, userTemplate(nil))
	cross := func(by *CA) []byte {
		template := *issuer.certificate
		template.SerialNumber = nil
		return must(by.Issue(&template, issuer.key))(t).chain[0]
	}
	if err := first.Revoke(issuer.Certificate(), KeyCompromise); err != nil {
		t.Fatal(err)
	}
	both := []*x509.Certificate{first.Certificate(), second.Certificate()}
	pair := must(first.IssueServer([]string{"localhost"}, IssueOptions{}))(t).TLS()
	server := must(NewMaterial(&pair, both, (&Revocations{}).WithCRLs(append(listOf(t, first), listOf(t, second)...)...)))(t)
	for _, test := range []struct {
		name  string
		cross []byte
		want  Problem
	}{
		{"none", nil, Revoked},
		{"by a stranger of a trusted name", cross(rogue), Revoked},
		{"by another trusted root", cross(second), 0},
	} {
		sent := *leaf
		if test.cross != nil {
			sent.Certificate = append([][]byte{sent.Certificate[0], test.cross}, sent.Certificate[1:]...)
		}
		_, _, serverErr := shake(t, ServerCredentials(server), tlsHandshake(bareClient(first, &sent)))
		if problem, _ := ProblemOf(serverErr); problem != test.want || test.want == 0 && serverErr != nil {
			t.Errorf("%s: %v, want problem %v", test.name, serverErr, test.want)
		}
	}
}

// What is revoked while a handshake is under way does not get through it.
func TestRevokedDuringTheHandshake(t *testing.T) {
	ca := newTestCA(t, CAOptions{})
	issued := issueUser(t, ca, nil)
	pair := issued.TLS()
	var source current
	source.Store(serverMaterial(t, ca, nil))
	revoked := serverMaterial(t, ca, &Revocations{certificates: map[[32]byte]struct{}{Thumbprint(issued.Certificate()): {}}})
	client := bareClient(ca, &pair)
	client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		source.Store(revoked) // the server has read its material by now
		return &pair, nil
	}
	_, _, serverErr := shake(t, ServerCredentials(&source), tlsHandshake(client))
	if problem, _ := ProblemOf(serverErr); problem != Revoked {
		t.Errorf("the server says %v, want that it is revoked", serverErr)
	}
}
