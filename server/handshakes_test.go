package server_test

import (
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"securechat/auth"
	"securechat/auth/authtest"
	"securechat/server"
)

// Handshakes that fail are logged and counted once, and say why.
func TestHandshakesThatAreRefused(t *testing.T) {
	realm := authtest.NewRealm(t)
	log := &journal{}
	address := start(t, realm, server.Config{Log: log.logger(), Limits: server.Limits{Handshake: 20 * time.Second}})
	impatient := start(t, realm, server.Config{Log: log.logger(), Limits: server.Limits{Handshake: 200 * time.Millisecond}})
	stranger := authtest.NewRealm(t).User("alice")
	for _, test := range []struct {
		name    string
		connect func(*testing.T, net.Conn)
		reason  auth.Reason
		address string
	}{
		{"no certificate", func(t *testing.T, c net.Conn) {
			config := clientTLS(realm.User("alice"))
			config.Certificates = nil
			shake(t, tls.Client(c, config))
		}, auth.CertificateMissing, address},
		{"another authority's certificate", func(t *testing.T, c net.Conn) {
			config := clientTLS(realm.User("alice"))
			// Sent although the server did not ask for this authority.
			config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				return stranger.Certificates.Certificate(), nil
			}
			shake(t, tls.Client(c, config))
		}, auth.CertificateUntrusted, address},
		{"TLS 1.2", func(t *testing.T, c net.Conn) {
			config := clientTLS(realm.User("alice"))
			config.MinVersion, config.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
			shake(t, tls.Client(c, config))
		}, auth.HandshakeFailed, address},
		{"no TLS", func(t *testing.T, c net.Conn) {
			if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, c)
		}, auth.HandshakeFailed, address},
		{"silence", func(_ *testing.T, c net.Conn) { _, _ = io.Copy(io.Discard, c) }, auth.HandshakeFailed, impatient},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := len(log.lines(t, "refused"))
			conn, err := net.Dial("tcp", test.address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			test.connect(t, conn)
			waitFor(t, "line of the refusal", func() bool { return len(log.lines(t, "refused")) > before })
			if line := log.lines(t, "refused")[before]; line["reason"] != string(test.reason) || line["cause"] == "" {
				t.Errorf("the line is %v, want %s", line, test.reason)
			}
		})
	}
	wantAlive(t, open(t, realm.User("bob"), address))
}

// shake shakes hands and reads until the server closes the connection.
func shake(t *testing.T, conn *tls.Conn) {
	t.Helper()
	if err := conn.HandshakeContext(t.Context()); err != nil {
		return
	}
	if _, err := io.Copy(io.Discard, conn); err == nil {
		t.Error("the server let the connection in")
	}
}
