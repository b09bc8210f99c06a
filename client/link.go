package client

import (
	"context"
	"log/slog"
	"net"
	"sync/atomic"

	"google.golang.org/grpc/credentials"
)

// A link knows why there is no connection. grpc-go reports that as text alone;
// what is kept here is the error itself, until a handshake succeeds.
type link struct {
	server  string
	log     *slog.Logger
	failure atomic.Pointer[error]
}

// last returns the latest failure to connect, or nil.
func (l *link) last() error {
	if failure := l.failure.Load(); failure != nil {
		return *failure
	}
	return nil
}

func (l *link) failed(err error) {
	l.failure.Store(&err)
	l.log.Warn("no connection", slog.String("server", l.server), slog.String("cause", err.Error()))
}

func (l *link) dial(ctx context.Context, address string) (net.Conn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil && context.Cause(ctx) != context.Canceled {
		l.failed(err)
	}
	return conn, err
}

// handshakeFailed is called by the credentials, also for what a server refuses
// after the handshake.
func (l *link) handshakeFailed(_ net.Addr, err error) { l.failed(err) }

func (l *link) credentials(inner credentials.TransportCredentials) credentials.TransportCredentials {
	return &linkCredentials{TransportCredentials: inner, link: l}
}

type linkCredentials struct {
	credentials.TransportCredentials
	link *link
}

func (c *linkCredentials) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	// Forgotten before and not after: the server may refuse as soon as the
	// handshake is done.
	before := c.link.failure.Load()
	conn, info, err := c.TransportCredentials.ClientHandshake(ctx, authority, raw)
	if err == nil {
		c.link.failure.CompareAndSwap(before, nil)
	}
	return conn, info, err
}

func (c *linkCredentials) Clone() credentials.TransportCredentials {
	return &linkCredentials{TransportCredentials: c.TransportCredentials.Clone(), link: c.link}
}
