package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"slices"
	"time"

	"google.golang.org/grpc/credentials"
)

// ServerConfig returns the TLS configuration of a server that lets in only
// clients with a certificate: TLS 1.3, HTTP/2, no resumption. Certificate, roots
// and revocations are read from src at each handshake.
//
// A client's certificate must chain to a current root, be within its validity
// and not revoked, be no authority's, and have the clientAuth usage itself: one
// with no extended key usage, or with anyExtendedKeyUsage alone, is refused.
//
// The configuration sets no deadline: whoever accepts the connections does. A
// gRPC server does so with grpc.ConnectionTimeout.
func ServerConfig(src Source) *tls.Config {
	config := serverBase()
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		now := src.Material()
		if now.certificate == nil {
			return nil, errors.New("this server has no certificate to present: configure one and its key")
		}
		current := serverBase()
		current.Certificates = []tls.Certificate{*now.certificate}
		current.ClientCAs = now.pool
		current.VerifyConnection = func(state tls.ConnectionState) error {
			return admit(src.Material(), state)
		}
		return current, nil
	}
	return config
}

// serverBase is a configuration that admits nobody: its pool of authorities is
// empty (a nil one would stand for those of the system).
func serverBase() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{"h2"},
		ClientAuth:             tls.RequireAndVerifyClientCert,
		ClientCAs:              x509.NewCertPool(),
		SessionTicketsDisabled: true,
	}
}

func admit(m *Material, state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return &CheckError{Problem: Missing, detail: "the client presented no certificate"}
	}
	if err := m.Check(state.VerifiedChains, time.Now()); err != nil {
		return err
	}
	return usableFor(state.PeerCertificates[0], x509.ExtKeyUsageClientAuth)
}

// CheckClient says whether a verified leaf may identify a client: it is an end
// entity's and has the clientAuth usage written in it. A handshake with
// ServerConfig has asked this already; code behind other TLS configurations asks
// it here. The error is a *CheckError.
func CheckClient(leaf *x509.Certificate) error { return usableFor(leaf, x509.ExtKeyUsageClientAuth) }

// usableFor says whether the leaf is an end entity's with the usage written in
// it. Its error is a *CheckError.
func usableFor(leaf *x509.Certificate, usage x509.ExtKeyUsage) error {
	detail := ""
	switch {
	case leaf.IsCA:
		detail = "is an authority's and cannot identify a client or server"
	case !slices.Contains(leaf.ExtKeyUsage, usage):
		detail = "does not have the extended key usage " + usageName(usage)
	default:
		return nil
	}
	return &CheckError{Problem: Unusable, Certificate: leaf, detail: detail}
}

// ServerCredentials are gRPC credentials over ServerConfig: handlers see the
// peer's certificate as credentials.TLSInfo. Bound the handshake with
// grpc.ConnectionTimeout, whose default is two minutes.
func ServerCredentials(src Source, options ...Option) credentials.TransportCredentials {
	return &serverCredentials{
		TransportCredentials: credentials.NewTLS(ServerConfig(src)),
		settings:             settingsOf(options),
	}
}

type serverCredentials struct {
	credentials.TransportCredentials
	settings settings
}

func (c *serverCredentials) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := c.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		c.settings.failed(raw.RemoteAddr(), err)
	}
	return conn, info, err
}

func (c *serverCredentials) Clone() credentials.TransportCredentials {
	return &serverCredentials{TransportCredentials: c.TransportCredentials.Clone(), settings: c.settings}
}

// An Option adds to ServerCredentials or ClientCredentials.
type Option func(*settings)

type settings struct {
	onFailure []func(net.Addr, error)
}

// OnFailure has report called with each handshake that fails, once, and the
// address of the other side. ProblemOf tells what was wrong with a certificate.
// It may be called concurrently and should not block: the handshake waits for it.
func OnFailure(report func(peer net.Addr, err error)) Option {
	return func(s *settings) { s.onFailure = append(s.onFailure, report) }
}

func settingsOf(options []Option) settings {
	var s settings
	for _, option := range options {
		option(&s)
	}
	return s
}

func (s settings) failed(peer net.Addr, err error) {
	for _, report := range s.onFailure {
		report(peer, err)
	}
}
