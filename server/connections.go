package server

import (
	"context"
	"encoding/hex"
	"log/slog"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"securechat/auth"
	"securechat/certs"
)

// excessLife is how long a connection beyond its identity's limit lives: long
// enough for its streams to be refused in words.
const excessLife = 5 * time.Second

// gate stands around the transport credentials. It logs and counts handshakes
// that fail, and connections an identity.
type gate struct {
	credentials.TransportCredentials
	server *Server
	held   *tally
}

func (g *gate) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secured, info, err := g.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		g.refused(raw, err)
		return nil, nil, err
	}
	conn := &connection{Conn: secured}
	name := g.identity(info)
	if g.held.take(name) {
		conn.released = func() { g.held.release(name) }
		return conn, info, nil
	}
	conn.excess = true
	timer := time.AfterFunc(excessLife, func() { _ = secured.Close() })
	conn.released = func() { timer.Stop() }
	return conn, info, nil
}

func (g *gate) Clone() credentials.TransportCredentials {
	return &gate{TransportCredentials: g.TransportCredentials.Clone(), server: g.server, held: g.held}
}

// identity is the name under which a connection counts: that in its
// certificate, or where it has none that is usable, the certificate itself.
func (g *gate) identity(info credentials.AuthInfo) string {
	tlsInfo, ok := info.(credentials.TLSInfo)
	if !ok || len(tlsInfo.State.PeerCertificates) == 0 {
		return ""
	}
	leaf := tlsInfo.State.PeerCertificates[0]
	if name, err := certs.Identify(leaf, g.server.config.Identity, g.server.config.TrustDomain); err == nil {
		return name.Value
	}
	sum := certs.Thumbprint(leaf)
	return hex.EncodeToString(sum[:])
}

// refused logs and counts a handshake that failed. The client has a TLS alert
// (RFC 8446 section 6.2) in place of a status.
func (g *gate) refused(raw net.Conn, err error) {
	reason, ok := auth.CertificateReason(err)
	if !ok {
		reason = auth.HandshakeFailed
	}
	g.server.metrics.refused(context.Background(), "handshake", reason)
	g.server.config.Log.Warn("refused", slog.String("method", "handshake"), slog.String("peer", raw.RemoteAddr().String()),
		slog.String("reason", string(reason)), slog.String("cause", err.Error()))
}

// connection is a secured connection that says when it closes. Its remote
// address leads back to it, so that a step can find the connection of a call.
type connection struct {
	net.Conn
	excess   bool
	once     sync.Once
	released func()
}

func (c *connection) Close() error {
	c.once.Do(c.released)
	return c.Conn.Close()
}

func (c *connection) RemoteAddr() net.Addr { return peerAddr{c.Conn.RemoteAddr(), c} }

type peerAddr struct {
	net.Addr
	connection *connection
}

// withinConnections refuses calls on a connection beyond the limit.
func withinConnections(ctx context.Context) error {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil
	}
	if addr, ok := p.Addr.(peerAddr); ok && addr.connection.excess {
		return auth.Refusef(auth.TooManyConnections, "the certificate's identity has too many connections").After(excessLife)
	}
	return nil
}
