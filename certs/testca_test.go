package certs

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/url"
	"testing"
	"time"
)

func must[T any](value T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func newTestCA(t *testing.T, o CAOptions) *CA {
	t.Helper()
	return must(NewCA(o))(t)
}

// userTemplate is a good user's certificate, for cases to spoil.
func userTemplate(spoil func(*x509.Certificate)) *x509.Certificate {
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "alice"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		URIs:                  []*url.URL{{Scheme: "spiffe", Host: DefaultTrustDomain, Path: "/user/alice"}},
	}
	if spoil != nil {
		spoil(template)
	}
	return template
}

func issueUser(t *testing.T, ca *CA, spoil func(*x509.Certificate)) *Issued {
	t.Helper()
	return must(ca.Issue(userTemplate(spoil), nil))(t)
}

// serverMaterial is a server's at localhost that trusts ca alone.
func serverMaterial(t *testing.T, ca *CA, revocations *Revocations) *Material {
	t.Helper()
	issued := must(ca.IssueServer([]string{"localhost"}, IssueOptions{}))(t)
	pair := issued.TLS()
	return must(NewMaterial(&pair, []*x509.Certificate{ca.Certificate()}, revocations))(t)
}

func userMaterial(t *testing.T, ca *CA, name string) *Material {
	t.Helper()
	issued := must(ca.IssueUser(name, IssueOptions{}))(t)
	return must(issued.Material(ca.Certificate()))(t)
}

func listOf(t *testing.T, ca *CA) []*x509.RevocationList {
	t.Helper()
	return must(ParseCRLs(must(ca.CRL())(t)))(t)
}

// bareClient presents the pair, if there is one, whatever the server asks for:
// it has none of ClientCredentials' own checks.
func bareClient(ca *CA, pair *tls.Certificate) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(ca.Certificate())
	return &tls.Config{
		RootCAs:    roots,
		ServerName: "localhost",
		NextProtos: []string{"h2"},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if pair == nil {
				return &tls.Certificate{}, nil
			}
			return pair, nil
		},
	}
}
