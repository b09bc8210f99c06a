package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"time"

	"google.golang.org/grpc/credentials"
)

// handshakeTimeout bounds a client's handshake.
const handshakeTimeout = 5 * time.Second

// ClientCredentials are gRPC credentials for mutual TLS with a server. Each
// handshake uses the certificate and the roots that src has then.
//
// The server's certificate must be valid for serverName, or, where that is
// empty, for the host that is dialled; and no certificate of its chain may be
// revoked. A handshake takes at most 5 seconds.
//
// A client whose own certificate cannot serve (none, expired, not yet valid,
// not for client authentication, of an authority the server does not accept)
// fails with words before the certificate is sent. What a server refuses later,
// as TLS 1.3 allows, is put into words as well; it shows in the error of the
// first call.
func ClientCredentials(src Source, serverName string, options ...Option) credentials.TransportCredentials {
	return &clientCredentials{source: src, serverName: serverName, settings: settingsOf(options)}
}

type clientCredentials struct {
	source     Source
	serverName string
	settings   settings
}

func (c *clientCredentials) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	conn, info, err := c.handshake(ctx, c.nameOf(authority), raw)
	if err != nil {
		raw.Close()
		c.settings.failed(raw.RemoteAddr(), err)
		return nil, nil, err
	}
	return conn, info, nil
}

func (c *clientCredentials) handshake(ctx context.Context, name string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	m := c.source.Material()
	if err := m.presentable(time.Now()); err != nil {
		return nil, nil, err
	}
	conn, info, err := credentials.NewTLS(clientConfig(m, name)).ClientHandshake(ctx, name, raw)
	if err != nil {
		return nil, nil, inWords(err, name)
	}
	return &wordedConn{Conn: conn, name: name, failed: func(err error) { c.settings.failed(raw.RemoteAddr(), err) }}, info, nil
}

func (c *clientCredentials) nameOf(authority string) string {
	if c.serverName != "" {
		return c.serverName
	}
	if host, _, err := net.SplitHostPort(authority); err == nil {
		return host
	}
	return authority
}

func (c *clientCredentials) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these are a client's credentials: a server needs ServerCredentials")
}

func (c *clientCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

func (c *clientCredentials) Clone() credentials.TransportCredentials {
	clone := *c
	return &clone
}

// OverrideServerName is part of credentials.TransportCredentials, where it is
// deprecated; give the name to ClientCredentials.
func (c *clientCredentials) OverrideServerName(name string) error {
	c.serverName = name
	return nil
}

// clientConfig is good for one handshake.
func clientConfig(m *Material, name string) *tls.Config {
	return &tls.Config{
		ServerName:             name,
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{"h2"},
		RootCAs:                m.pool,
		SessionTicketsDisabled: true,
		GetClientCertificate: func(request *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if err := request.SupportsCertificate(m.certificate); err != nil {
				return nil, &CheckError{Problem: Untrusted, Certificate: m.certificate.Leaf, detail: unacceptable(m.certificate.Leaf, request, err)}
			}
			return m.certificate, nil
		},
		VerifyConnection: func(state tls.ConnectionState) error {
			return m.Check(state.VerifiedChains, time.Now())
		},
	}
}

// presentable says whether this side has a certificate that a server could
// accept from a client at now.
func (m *Material) presentable(now time.Time) error {
	if m.certificate == nil {
		return &CheckError{Problem: Missing, detail: "this client has no certificate, which the server asks for: configure a certificate and its key"}
	}
	leaf := m.certificate.Leaf
	if err := within(leaf, now); err != nil {
		err.detail = "this client's own certificate " + err.detail + ": check the clock or obtain a new one"
		return err
	}
	var unusable *CheckError
	if errors.As(usableFor(leaf, x509.ExtKeyUsageClientAuth), &unusable) {
		unusable.detail = "this client's own certificate " + unusable.detail + ": obtain one for client authentication"
		return unusable
	}
	return nil
}
