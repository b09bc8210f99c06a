package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/credentials"
)

// current is a Source whose material a test swaps.
type current struct{ atomic.Pointer[Material] }

func (c *current) Material() *Material { return c.Load() }

// shake runs a handshake over loopback and sends a byte to the client on it. It
// returns what each side had to say, and the server's view of the connection.
func shake(t *testing.T, server credentials.TransportCredentials, handshake func(net.Conn) (net.Conn, error)) (seen tls.ConnectionState, clientErr, serverErr error) {
	t.Helper()
	listener := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	defer listener.Close()
	served := make(chan error, 1)
	go func() {
		raw, err := listener.Accept()
		if err != nil {
			served <- err
			return
		}
		defer raw.Close()
		conn, info, err := server.ServerHandshake(raw)
		if err == nil {
			seen = info.(credentials.TLSInfo).State
			_, err = conn.Write([]byte("x"))
			conn.Close()
		}
		served <- err
	}()
	raw := must(net.Dial("tcp", listener.Addr().String()))(t)
	defer raw.Close()
	if err := raw.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	conn, clientErr := handshake(raw)
	if clientErr == nil {
		_, clientErr = conn.Read(make([]byte, 1))
	}
	raw.Close() // a server that waits for a client that has given up
	serverErr = <-served
	return seen, clientErr, serverErr
}

func tlsHandshake(config *tls.Config) func(net.Conn) (net.Conn, error) {
	return func(raw net.Conn) (net.Conn, error) {
		conn := tls.Client(raw, config)
		return conn, conn.Handshake()
	}
}

func credentialsHandshake(client Source, name string) func(net.Conn) (net.Conn, error) {
	return func(raw net.Conn) (net.Conn, error) {
		conn, _, err := ClientCredentials(client, name).ClientHandshake(context.Background(), "localhost:443", raw)
		return conn, err
	}
}

func TestServerRefusesClient(t *testing.T) {
	ca := newTestCA(t, CAOptions{Depth: 1})
	foreign := newTestCA(t, CAOptions{}) // of the same name as ca
	old := newTestCA(t, CAOptions{NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)})
	intermediate := must(ca.IssueCA(CAOptions{Name: "Intermediate"}))(t)

	pair := func(i *Issued) *tls.Certificate { p := i.TLS(); return &p }
	user := func(spoil func(*x509.Certificate)) *tls.Certificate { return pair(issueUser(t, ca, spoil)) }
	usages := func(usages ...x509.ExtKeyUsage) *tls.Certificate {
		return user(func(c *x509.Certificate) { c.ExtKeyUsage = usages })
	}
	listed := issueUser(t, ca, nil)
	if err := ca.Revoke(listed.Certificate(), KeyCompromise); err != nil {
		t.Fatal(err)
	}
	fingerprinted := issueUser(t, ca, nil)
	ofRevoked := issueUser(t, intermediate, nil)
	sum := Thumbprint(fingerprinted.Certificate())
	revocations := (&Revocations{certificates: map[[32]byte]struct{}{sum: {}}}).WithCRLs(listOf(t, ca)...)

	selfSigned := pair(issueUser(t, ca, nil))
	{
		key := must(newKey())(t)
		template := userTemplate(nil)
		template.SerialNumber = must(newSerial())(t)
		der := must(x509.CreateCertificate(nil, template, template, key.Public(), key))(t)
		selfSigned.Certificate, selfSigned.PrivateKey, selfSigned.Leaf = [][]byte{der}, key, nil
	}
	stolen := user(nil)
	stolen.PrivateKey = must(newKey())(t)
	alone := pair(ofRevoked)
	alone.Certificate = alone.Certificate[:1]

	for _, test := range []struct {
		name    string
		pair    *tls.Certificate
		problem Problem
	}{
		{"none", nil, Missing},
		{"self-signed", selfSigned, Untrusted},
		// The authority has the trusted one's name, but not its key.
		{"foreign authority", pair(issueUser(t, foreign, nil)), Untrusted},
		{"expired", user(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) }), Expired},
		{"not yet valid", user(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(30 * time.Minute) }), Expired},
		{"authority expired and foreign", pair(issueUser(t, old, nil)), Untrusted},
		// crypto/x509 takes a certificate without usages for any.
		{"no extended key usage", usages(), Unusable},
		{"any usage", usages(x509.ExtKeyUsageAny), Unusable},
		{"server usage", usages(x509.ExtKeyUsageServerAuth), Unusable},
		{"leaf is an authority", user(func(c *x509.Certificate) {
			c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageDigitalSignature
		}), Unusable},
		{"revoked by list", pair(listed), Revoked},
		{"revoked by fingerprint", pair(fingerprinted), Revoked},
		{"intermediate not sent", alone, Untrusted},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, clientErr, serverErr := shake(t, ServerCredentials(serverMaterial(t, ca, revocations)), tlsHandshake(bareClient(ca, test.pair)))
			if problem, ok := ProblemOf(serverErr); !ok || problem != test.problem {
				t.Errorf("server: %v: problem %v, want %v", serverErr, problem, test.problem)
			}
			if clientErr == nil {
				t.Error("the client was let in")
			}
		})
	}

	t.Run("another's certificate", func(t *testing.T) {
		if _, _, serverErr := shake(t, ServerCredentials(serverMaterial(t, ca, nil)), tlsHandshake(bareClient(ca, stolen))); serverErr == nil {
			t.Error("the server let in a certificate without its key")
		}
	})
	t.Run("intermediate revoked", func(t *testing.T) {
		if err := ca.Revoke(intermediate.Certificate(), CessationOfOperation); err != nil {
			t.Fatal(err)
		}
		material := serverMaterial(t, ca, (&Revocations{}).WithCRLs(listOf(t, ca)...))
		_, _, serverErr := shake(t, ServerCredentials(material), tlsHandshake(bareClient(ca, pair(ofRevoked))))
		if problem, _ := ProblemOf(serverErr); problem != Revoked {
			t.Errorf("server: %v", serverErr)
		}
	})
}

func TestServerRefusesProtocol(t *testing.T) {
	ca := newTestCA(t, CAOptions{})
	pair := issueUser(t, ca, nil).TLS()
	for _, test := range []struct {
		name  string
		spoil func(*tls.Config)
	}{
		{"TLS 1.2", func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }},
		{"HTTP/1.1", func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} }},
		{"no application protocol", func(c *tls.Config) { c.NextProtos = nil }},
	} {
		t.Run(test.name, func(t *testing.T) {
			config := bareClient(ca, &pair)
			test.spoil(config)
			_, _, serverErr := shake(t, ServerCredentials(serverMaterial(t, ca, nil)), tlsHandshake(config))
			if serverErr == nil {
				t.Error("the client was let in")
			}
			if problem, ok := ProblemOf(serverErr); ok {
				t.Errorf("%v counts as the certificate's problem: %v", serverErr, problem)
			}
		})
	}
}

func TestServerWithoutCertificateServesNobody(t *testing.T) {
	ca := newTestCA(t, CAOptions{})
	bare := must(NewMaterial(nil, []*x509.Certificate{ca.Certificate()}, nil))(t)
	pair := issueUser(t, ca, nil).TLS()
	_, _, serverErr := shake(t, ServerCredentials(bare), tlsHandshake(bareClient(ca, &pair)))
	if serverErr == nil || !strings.Contains(serverErr.Error(), "no certificate to present") {
		t.Errorf("server: %v", serverErr)
	}
}

// Whoever drops GetConfigForClient from the configuration must not fall back to
// the system's authorities, or to none.
func TestServerConfigIsClosedWithoutItsSource(t *testing.T) {
	config := ServerConfig(serverMaterial(t, newTestCA(t, CAOptions{}), nil))
	if config.ClientCAs == nil || !config.ClientCAs.Equal(x509.NewCertPool()) || config.ClientAuth != tls.RequireAndVerifyClientCert {
		t.Error("the outer configuration admits someone")
	}
}

func TestServerAdmitsClient(t *testing.T) {
	ca := newTestCA(t, CAOptions{Depth: 1})
	other := newTestCA(t, CAOptions{Name: "Other"})
	intermediate := must(ca.IssueCA(CAOptions{Name: "Intermediate"}))(t)
	plain := issueUser(t, ca, nil)
	// Neither list is by the authority that issued the certificate, though one
	// has its name and both have its serial number.
	impostor := newTestCA(t, CAOptions{Name: "Intermediate"})
	ofIntermediate := issueUser(t, intermediate, nil)
	for _, ca := range []*CA{other, impostor} {
		for _, issued := range []*Issued{plain, ofIntermediate} {
			if err := ca.RevokeSerial(issued.Certificate().SerialNumber, Unspecified); err != nil {
				t.Fatal(err)
			}
		}
	}
	lists := append(listOf(t, other), listOf(t, impostor)...)
	material := serverMaterial(t, ca, (&Revocations{}).WithCRLs(lists...))
	both := issueUser(t, ca, func(c *x509.Certificate) {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny, x509.ExtKeyUsageClientAuth}
	})
	for name, issued := range map[string]*Issued{
		"plain":                   plain,
		"through an intermediate": ofIntermediate,
		"clientAuth beside any":   both,
	} {
		t.Run(name, func(t *testing.T) {
			client := must(issued.Material(ca.Certificate()))(t)
			seen, clientErr, serverErr := shake(t, ServerCredentials(material), credentialsHandshake(client, ""))
			if clientErr != nil || serverErr != nil {
				t.Fatalf("client: %v; server: %v", clientErr, serverErr)
			}
			if seen.Version != tls.VersionTLS13 || seen.NegotiatedProtocol != "h2" || seen.CurveID != tls.X25519MLKEM768 {
				t.Errorf("version %x, protocol %q, curve %v", seen.Version, seen.NegotiatedProtocol, seen.CurveID)
			}
			if err := material.Check(seen.VerifiedChains, time.Now()); err != nil {
				t.Errorf("the chains that were let in do not stand: %v", err)
			}
		})
	}
}

func TestSessionsAreNotResumed(t *testing.T) {
	ca := newTestCA(t, CAOptions{})
	material := serverMaterial(t, ca, nil)
	pair := issueUser(t, ca, nil).TLS()
	config := bareClient(ca, &pair)
	config.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	for range 2 {
		seen, _, serverErr := shake(t, ServerCredentials(material), tlsHandshake(config))
		if serverErr != nil || seen.DidResume {
			t.Fatalf("resumed: %v, error: %v", seen.DidResume, serverErr)
		}
	}
	if _, ok := config.ClientSessionCache.Get("localhost"); ok {
		t.Error("the server gave out a session ticket")
	}
}

func TestMaterialOfTheMomentCounts(t *testing.T) {
	first, second := newTestCA(t, CAOptions{Name: "First"}), newTestCA(t, CAOptions{Name: "Second"})
	var source current
	both := []*x509.Certificate{first.Certificate(), second.Certificate()}
	client := must(issueUser(t, first, nil).Material(both...))(t)
	server := ServerCredentials(&source) // made once, before any material

	source.Store(serverMaterial(t, first, nil))
	_, clientErr, serverErr := shake(t, server, credentialsHandshake(client, ""))
	if clientErr != nil || serverErr != nil {
		t.Fatalf("client: %v; server: %v", clientErr, serverErr)
	}
	source.Store(serverMaterial(t, second, nil))
	_, clientErr, _ = shake(t, server, credentialsHandshake(client, ""))
	if problem, _ := ProblemOf(clientErr); problem != Untrusted {
		t.Errorf("after the roots were swapped: %v", clientErr)
	}
	// The new certificate is presented: a client that trusts only the first
	// authority no longer accepts the server.
	narrow := must(issueUser(t, second, nil).Material(first.Certificate()))(t)
	_, clientErr, _ = shake(t, server, credentialsHandshake(narrow, ""))
	if problem, _ := ProblemOf(clientErr); problem != Untrusted {
		t.Errorf("after the certificate was swapped: %v", clientErr)
	}
}
