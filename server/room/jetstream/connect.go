package jetstream

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"
)

// ConnectConfig is where a shared log is and how it is kept.
type ConnectConfig struct {
	// URLs are the cluster's servers, such as tls://host:4222. One that answers is
	// enough; the others of its cluster are learned from it. Where all are of the
	// form nats://127.0.0.1:4222 and TLS is nil, nothing is encrypted, and only servers
	// on loopback are used; otherwise everything is.
	URLs []string
	// TLS is for the connections to the servers; nil means the system's roots.
	TLS *tls.Config
	// Roots returns the authorities that vouch for the servers. It is asked at each
	// connection, concurrently. Nil: those of TLS. It needs TLS.
	Roots func() (*x509.CertPool, error)
	// Credentials is a file of NATS credentials (a user's JWT and seed); optional.
	// It is read again at each connection. The caller has made sure that others
	// can't read it.
	Credentials string
	// Name begins the log's subjects, and in capitals is the stream's name: letters,
	// digits, _ and -; empty means chat.
	Name string
	// Replicas is on how many servers each message is; 0 means 1. A stream that has
	// more keeps them.
	Replicas int
	// Keep is how long messages are kept.
	Keep Retention
	// Within is how long the servers have to answer for the stream once one of them is
	// reached, which may take longer where others are not; 0 means 20 s.
	Within time.Duration
	// Logger is told of lost connections; nil: nobody is.
	Logger *slog.Logger
}

// reconnectEvery is the pause between attempts to reach the servers again.
const reconnectEvery = 500 * time.Millisecond

// attachWithin is how long a cluster may take to elect the stream's leader.
const attachWithin = 4 * answerWithin

// ErrNotReady says that the servers of a cluster have not elected a leader, or that it
// does not see as many servers as there are to be replicas.
var ErrNotReady = errors.New("jetstream: the cluster is not ready")

// Connect opens the log on a NATS server or cluster, making its stream where there
// is none. It fails if no server can be reached or the stream is not one to keep
// rooms in, and with ErrNotReady, or the context's error, where a cluster is not ready
// yet. Later on, lost connections are made again for ever.
func Connect(ctx context.Context, config ConnectConfig) (*Shared, error) {
	n, err := config.names()
	if err != nil {
		return nil, err
	}
	l := &Shared{reconnected: make(chan struct{}, 1), patience: patience}
	s := newStream(n, answerWithin)
	options := config.options(s, l)
	open := func() error {
		servers := strings.Join(config.URLs, ",")
		if s.writes, err = nats.Connect(servers, append(options, nats.Name(n.stream+" writes"))...); err != nil {
			return fmt.Errorf("reach NATS at %s: %w", redacted(config.URLs), err)
		}
		if s.reads, err = nats.Connect(servers, append(options, nats.Name(n.stream+" reads"))...); err != nil {
			return fmt.Errorf("reach NATS at %s: %w", redacted(config.URLs), err)
		}
		options = append(options, nats.ReconnectHandler(func(*nats.Conn) { l.missed() }))
		if s.asks, err = nats.Connect(servers, append(options, nats.Name(n.stream+" asks"))...); err != nil {
			return fmt.Errorf("reach NATS at %s: %w", redacted(config.URLs), err)
		}
		if err := s.heedElections(); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, cmp.Or(config.Within, attachWithin))
		defer cancel()
		return s.attach(ctx, streamConfig(n, config.Keep, config.Replicas, true))
	}
	if err := open(); err != nil {
		s.close()
		var answer *js.APIError
		if errors.As(err, &answer) && answer.ErrorCode == codeNoLeader {
			return nil, fmt.Errorf("%w: %w", ErrNotReady, err)
		}
		if answer != nil && answer.ErrorCode == codeNoPeers {
			return nil, fmt.Errorf("%w: it needs a server for each of %d replicas: %w", ErrNotReady, max(config.Replicas, 1), err)
		}
		return nil, fmt.Errorf("jetstream: %w", err)
	}
	l.stream = s
	return l, nil
}

// heedElections has nothing wait for an answer of a leader that another has
// replaced. That such word may get lost is what the bound on each wait is for.
func (s *stream) heedElections() error {
	_, err := s.asks.Subscribe("$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED."+s.names.stream, func(*nats.Msg) {
		s.unanswered(errElected)
	})
	return err
}

var errElected = errors.New("the stream has a new leader")

// attach makes sure of the stream.
func (s *stream) attach(ctx context.Context, want js.StreamConfig) error {
	api, err := js.New(s.asks)
	if err != nil {
		return err
	}
	listing, err := js.New(s.reads)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, attachWithin)
	defer cancel()
	if s.handle, err = ensure(ctx, api, want); err != nil {
		return err
	}
	s.lists, err = listing.Stream(ctx, want.Name)
	return err
}

func (c *ConnectConfig) names() (names, error) {
	name := c.Name
	if name == "" {
		name = "chat"
	}
	for _, r := range name {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-') {
			return names{}, fmt.Errorf("jetstream: %q is no name for a log: use letters, digits, _ and -", name)
		}
	}
	switch {
	case len(c.URLs) == 0:
		return names{}, errors.New("jetstream: no server is named: give the URL of one")
	case c.Replicas < 0 || c.Replicas > 5:
		return names{}, fmt.Errorf("jetstream: %d replicas are not to be had: ask for 1 to 5", c.Replicas)
	}
	return names{stream: strings.ToUpper(name), prefix: name}, c.Keep.check()
}

// options keep a connection for ever, without anything waiting in it for a server
// to come back: what can't be sent fails, and its sender decides.
func (c *ConnectConfig) options(s *stream, l *Shared) []nats.Option {
	log := c.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	options := []nats.Option{
		nats.SyncQueueLen(answerQueue),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectEvery),
		nats.ReconnectJitter(reconnectEvery/2, reconnectEvery/2),
		nats.ReconnectBufSize(-1),
		nats.IgnoreAuthErrorAbort(), // the credentials may be replaced
		// A server that falls silent is given up within six seconds, so that an append
		// has time to be stored through another.
		nats.PingInterval(2 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.FlusherTimeout(answerWithin),
		nats.ReconnectOnFlusherError(),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err == nil {
				return // it is closed
			}
			log.Warn("a connection to NATS is lost", "error", err)
			s.unanswered(fmt.Errorf("the connection is lost: %w", err))
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if errors.Is(err, nats.ErrSlowConsumer) {
				l.missed()
			}
			log.Warn("NATS", "error", err)
		}),
	}
	switch {
	case c.TLS != nil:
		options = append(options, nats.Secure(c.TLS.Clone()))
		if c.Roots != nil {
			options = append(options, nats.ClientTLSConfig(nil, c.Roots))
		}
	case slices.ContainsFunc(c.URLs, func(url string) bool { return strings.HasPrefix(url, "tls:") }):
		options = append(options, nats.Secure())
	default:
		options = append(options, nats.SetCustomDialer(&net.Dialer{Timeout: nats.DefaultTimeout, Control: onLoopback}))
	}
	if c.Credentials != "" {
		options = append(options, nats.UserCredentials(c.Credentials))
	}
	return options
}

// onLoopback keeps a dialer from leaving this machine: a server there may name others
// of its cluster that are elsewhere.
func onLoopback(_, address string, _ syscall.RawConn) error {
	if to, err := netip.ParseAddrPort(address); err != nil || !to.Addr().Unmap().IsLoopback() {
		return fmt.Errorf("%s is another machine, and the connection would not be encrypted: use tls://", address)
	}
	return nil
}

// redacted lists URLs without the user and password that they may hold.
func redacted(urls []string) string {
	shown := make([]string, len(urls))
	for i, u := range urls {
		if _, host, found := strings.Cut(u, "@"); found {
			u = host
		}
		shown[i] = u
	}
	return strings.Join(shown, ", ")
}
