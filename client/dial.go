package client

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/keepalive"

	"securechat/certs"
)

// DefaultPort is the server's port where Config.Server names none.
const DefaultPort = "50051"

// What a connection and its streams take.
const (
	maxMessage       = 1 << 20 // bytes received in one message
	maxHeaders       = 16 << 10
	streamWindow     = 64 << 10 // bytes in flight to this side, a stream
	connectionWindow = 1 << 20  // and all streams together
	dialTimeout      = 10 * time.Second
	longestBackoff   = 4 * time.Second
	keepaliveTime    = 30 * time.Second // longer than what servers allow at least
	keepaliveTimeout = 10 * time.Second
)

// Config says how to reach a server, and as whom.
type Config struct {
	// Server is host:port, or a host alone for DefaultPort. Required.
	Server string
	// ServerName is the name that the server's certificate must have. Default:
	// the host of Server.
	ServerName string
	// Certificates has the client's certificate and the trusted roots. Required.
	//
	// When the certificate changes, streams move to a new connection. A source
	// that is a certs.Notifier, as that of certs.Files is, has them move at once;
	// any other is looked at when a stream is opened, and once a minute. Roots
	// and revocations that change move nothing: each handshake goes by those of
	// its moment.
	Certificates certs.Source
	// Token is asked once for each stream that is opened, for what refreshes the
	// streams that are live, and when they move. Required.
	Token TokenSource
	// Events is told what happens while streams are live; nil: nobody is told. It
	// is called from goroutines of the Conn, one event after another, and must
	// return soon: refreshing and moving wait for it, and so does Close, which it
	// must not call.
	Events func(Event)
	// Tracing makes the spans; nil makes none.
	Tracing trace.TracerProvider
	// Log has what goes wrong with connections; nil logs nothing.
	Log *slog.Logger
}

// A Conn is a connection to a server. It connects when the first stream is
// opened and whenever it has to. It may be used concurrently.
type Conn struct {
	server string
	token  TokenSource
	tracer trace.Tracer // nil: no spans
	lines  *lines
	keeper *keeper
	mover  *mover
	crew   crew
}

// Dial checks the configuration and returns a connection, without waiting for
// the server.
func Dial(cfg Config) (*Conn, error) {
	server, err := address(cfg.Server)
	switch {
	case err != nil:
		return nil, fmt.Errorf("client: %w", err)
	case cfg.Certificates == nil:
		return nil, errors.New("client: Config.Certificates is required: certs.Files reads them from files")
	case cfg.Token == nil:
		return nil, errors.New("client: Config.Token is required: TokenFile reads it from a file")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	c := &Conn{server: server, token: cfg.Token}
	if cfg.Tracing != nil {
		c.tracer = cfg.Tracing.Tracer("securechat/client")
	}
	if c.lines, err = newLines(cfg, server); err != nil {
		return nil, err
	}
	events := oneByOne(cfg.Events)
	c.keeper = newKeeper(cfg.Token, refresh, events)
	c.mover = newMover(c.lines, cfg.Token, events)
	return c, nil
}

// reconnecting is how long a channel waits between its attempts to connect.
func reconnecting() backoff.Config {
	retries := backoff.DefaultConfig
	retries.BaseDelay = 200 * time.Millisecond
	retries.MaxDelay = longestBackoff
	return retries
}

func transport(cfg Config, l *link) []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithTransportCredentials(l.credentials(certs.ClientCredentials(cfg.Certificates, cfg.ServerName, certs.OnFailure(l.handshakeFailed)))),
		grpc.WithContextDialer(l.dial),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: reconnecting(), MinConnectTimeout: dialTimeout}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
		grpc.WithStaticStreamWindowSize(streamWindow),
		grpc.WithStaticConnWindowSize(connectionWindow),
		grpc.WithMaxHeaderListSize(maxHeaders),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
	}
}

// Close ends the connection and all its streams and rooms, and waits for what
// refreshes and moves them: for the token source and Config.Events where they have been called.
func (c *Conn) Close() error {
	c.keeper.stop()
	c.mover.stop()
	c.crew.close()
	err := c.lines.close()
	c.keeper.wait()
	c.mover.wait()
	c.crew.wait()
	return err
}

// address returns server as host:port.
func address(server string) (string, error) {
	if server == "" {
		return "", errors.New("no server: name one as HOST:PORT")
	}
	host, port, err := net.SplitHostPort(server)
	if err != nil {
		host, port = unbracketed(server), DefaultPort
		if strings.Contains(host, ":") && net.ParseIP(host) == nil {
			return "", fmt.Errorf("the server %.200q is not an address: write HOST:PORT, with an IPv6 address in brackets", server)
		}
	}
	if number, err := strconv.ParseUint(port, 10, 16); err != nil || number == 0 {
		return "", fmt.Errorf("the server %.200q has no usable port: write HOST:PORT, the port from 1 to 65535", server)
	}
	if host == "" || strings.ContainsFunc(host, notInHost) {
		return "", fmt.Errorf("the server %.200q is not an address: write HOST:PORT, without a scheme or a path", server)
	}
	return net.JoinHostPort(host, port), nil
}

func unbracketed(host string) string {
	if inner, ok := strings.CutPrefix(host, "["); ok && strings.HasSuffix(inner, "]") {
		return strings.TrimSuffix(inner, "]")
	}
	return host
}

func notInHost(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`/\?#@%"<>[]`, r) }
