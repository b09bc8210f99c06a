package server

import (
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"securechat/auth"
	"securechat/certs"
)

// gate stands around the transport credentials. It bounds handshakes an address,
// connections an identity and connections in all, logs and counts what it
// refuses, and closes connections whose clients do not take what they are owed.
type gate struct {
	credentials.TransportCredentials
	server      *Server
	handshaking *tally // by address
	held        *tally // by identity
	most        int    // connections in all
	stall       time.Duration

	mu          sync.Mutex
	connections map[*connection]struct{}
}

func newGate(s *Server) *gate {
	l := s.config.Limits
	return &gate{
		TransportCredentials: certs.ServerCredentials(s.config.Certificates),
		server:               s,
		handshaking:          newTally(l.HandshakesPerAddress),
		held:                 newTally(l.ConnectionsPerIdentity),
		most:                 l.Connections,
		stall:                l.Stall,
		connections:          make(map[*connection]struct{}),
	}
}

// Clone returns the gate itself: its counts are of the one server.
func (g *gate) Clone() credentials.TransportCredentials { return g }

var (
	errHandshakes  = errors.New("the address has too many handshakes under way")
	errConnections = errors.New("the server has as many connections as it may")
)

// ServerHandshake refuses before it costs anything what is too much.
func (g *gate) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	from := addressOf(raw.RemoteAddr())
	if !g.handshaking.take(from) {
		g.refused(raw, auth.TooManyConnections, errHandshakes)
		return nil, nil, errHandshakes
	}
	defer g.handshaking.release(from)
	secured, info, err := g.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		reason, ok := auth.CertificateReason(err)
		if !ok {
			reason = auth.HandshakeFailed
		}
		g.refused(raw, reason, err)
		return nil, nil, err
	}
	conn := newConnection(raw, secured, g.identity(info))
	conn.closing = func(why string) {
		g.server.metrics.closed.Add(context.Background(), 1)
		g.server.config.Log.Warn("connection closed: "+why, slog.String("peer", raw.RemoteAddr().String()), slog.String("identity", conn.name))
	}
	if !g.admit(conn) {
		g.refused(raw, auth.TooManyConnections, errConnections)
		return nil, nil, errConnections
	}
	return conn, info, nil
}

// admit takes the connection up, unless there are too many.
func (g *gate) admit(conn *connection) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.connections) >= g.most {
		return false
	}
	g.connections[conn] = struct{}{}
	release := func() { g.held.release(conn.name) }
	if !g.held.take(conn.name) {
		conn.excess = true
		timer := time.AfterFunc(excessLife, func() { _ = conn.Close() })
		release = func() { timer.Stop() }
	}
	conn.released = func() {
		release()
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.connections, conn)
	}
	return true
}

// tend closes connections that are stuck, until ctx ends.
func (g *gate) tend(ctx context.Context) {
	ticker := time.NewTicker(g.stall / looksPerStall)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			for _, conn := range g.stuck() {
				conn.closing("the client does not take the end of its streams")
				conn.abort()
			}
		}
	}
}

func (g *gate) stuck() []*connection {
	g.mu.Lock()
	defer g.mu.Unlock()
	var stuck []*connection
	for conn := range g.connections {
		if conn.look(looksPerStall) {
			stuck = append(stuck, conn)
		}
	}
	return stuck
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

// refused logs and counts a connection that was not let in. The client has a TLS
// alert (RFC 8446 section 6.2), or nothing, in place of a status.
func (g *gate) refused(raw net.Conn, reason auth.Reason, err error) {
	g.server.metrics.refused(context.Background(), "handshake", reason)
	more, say := g.server.quiet.may(addressOf(raw.RemoteAddr()))
	if !say {
		return
	}
	attributes := []any{slog.String("method", "handshake"), slog.String("peer", raw.RemoteAddr().String()),
		slog.String("reason", string(reason)), slog.String("cause", bounded(err.Error()))}
	if more > 0 {
		attributes = append(attributes, slog.Int("more", more))
	}
	g.server.config.Log.Warn("refused", attributes...)
}

// addressOf is what a peer is known by before it has an identity: its IP
// address, or for IPv6, of which one subscriber has many, its /64.
func addressOf(addr net.Addr) string {
	parsed, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return addr.Network()
	}
	ip := parsed.Addr().Unmap()
	if ip.Is4() {
		return ip.String()
	}
	prefix, err := ip.WithZone("").Prefix(64)
	if err != nil {
		return ip.String()
	}
	return prefix.String()
}

// connectionOf returns the connection that a call came over, if it came through
// the gate.
func connectionOf(ctx context.Context) (*connection, bool) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil, false
	}
	addr, ok := p.Addr.(peerAddr)
	return addr.connection, ok
}

type streamKey struct{}

// patientWith lets the client of a call take its time with what is left of it, if
// it keeps taking. A call that the server ends for any other reason than that it
// goes down has only the time of a stall: its caller is not to be served.
func patientWith(ctx context.Context, err error) {
	reason, _ := auth.ReasonOf(err)
	if s, ok := ctx.Value(streamKey{}).(*callStream); ok && (err == nil || reason == auth.Draining) {
		s.orderly.Store(true)
	}
}

// onceTaken has f called when the client of a call has taken all of it, or will not.
func onceTaken(ctx context.Context, f func()) {
	if s, ok := ctx.Value(streamKey{}).(*callStream); ok {
		s.onceTaken(f)
		return
	}
	f()
}
