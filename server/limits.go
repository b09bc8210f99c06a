package server

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"

	"securechat/auth"
)

// Limits bound what callers can take. A zero field means its default.
type Limits struct {
	// StreamsPerConnection is how many calls one connection may have open at a
	// time. More wait at the client. Default 100.
	StreamsPerConnection uint32
	// StreamsPerIdentity is how many streams one user may have open on all
	// connections; one more is refused with TOO_MANY_STREAMS. Default 256.
	StreamsPerIdentity int
	// CallsPerIdentity is how many calls of one method that are no streams one user
	// may have under way on all connections; one more is refused with
	// TOO_MANY_STREAMS. Of those that read from rooms most wait. Default 64.
	CallsPerIdentity int
	// ConnectionsPerIdentity is how many connections one certificate identity
	// may have; streams on one more are refused with TOO_MANY_CONNECTIONS, and
	// it is closed after 5 s. Default 16.
	ConnectionsPerIdentity int
	// Connections is how many connections there may be in all; one more is
	// closed. Default 16384.
	Connections int
	// HandshakesPerAddress is how many TLS handshakes one IP address (IPv6: one
	// /64) may have under way; one more is closed at once. Default 256.
	HandshakesPerAddress int
	// HeaderBytes is the size of a call's header list (RFC 9113 section 6.5.2).
	// Default 16 KiB.
	HeaderBytes uint32
	// MessageBytes is the size of one message. Default 256 KiB.
	MessageBytes int
	// Handshake is how long TLS handshake and HTTP/2 preface may take together.
	// Default 5 s.
	Handshake time.Duration
	// Unary is how long a call that is no stream may take, its request included.
	// Default 10 s.
	Unary time.Duration
	// Stall is how long a client may leave the end of a stream untaken before its
	// connection is closed. A stream that ends in good order, or because the server
	// goes down, may take longer while some of it is taken in that time. Looks are a
	// tenth of it apart, so that it may be a tenth more. Default 5 s.
	Stall time.Duration
	// Keepalive is how long a connection may be silent before it is probed, and
	// KeepaliveTimeout how long the answer may take. Default 1 min and 20 s.
	Keepalive, KeepaliveTimeout time.Duration
	// MinPing is how often a client may ping; one that does so more often is
	// disconnected. Default 10 s.
	MinPing time.Duration
	// Idle is how long a connection may be without a call. Default 15 min.
	Idle time.Duration
}

func orDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (l Limits) withDefaults() Limits {
	orDefault(&l.StreamsPerConnection, 100)
	orDefault(&l.StreamsPerIdentity, 256)
	orDefault(&l.CallsPerIdentity, 64)
	orDefault(&l.ConnectionsPerIdentity, 16)
	orDefault(&l.Connections, 16384)
	orDefault(&l.HandshakesPerAddress, 256)
	orDefault(&l.HeaderBytes, 16<<10)
	orDefault(&l.MessageBytes, 256<<10)
	orDefault(&l.Handshake, 5*time.Second)
	orDefault(&l.Unary, 10*time.Second)
	orDefault(&l.Stall, 5*time.Second)
	orDefault(&l.Keepalive, time.Minute)
	orDefault(&l.KeepaliveTimeout, 20*time.Second)
	orDefault(&l.MinPing, 10*time.Second)
	orDefault(&l.Idle, 15*time.Minute)
	return l
}

// A tally counts what each name holds, up to a limit.
type tally struct {
	limit int
	mu    sync.Mutex
	held  map[string]int
}

func newTally(limit int) *tally { return &tally{limit: limit, held: make(map[string]int)} }

// take reports whether name may hold one more, and counts it if so.
func (t *tally) take(name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.held[name] >= t.limit {
		return false
	}
	t.held[name]++
	return true
}

func (t *tally) release(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.held[name]--; t.held[name] <= 0 {
		delete(t.held, name)
	}
}

// accountOf is what a caller's use counts under. Callers with a token and those
// without do not count together: a certificate alone must not take a user's places.
func accountOf(id auth.Identity) string {
	if id.Issuer == "" {
		return id.Certificate.Value
	}
	return id.Issuer + "\x00" + id.User
}

// limits is the step that bounds how many streams and other calls one caller has.
// The calls are counted by method, lest one that is asked for too often keep a
// user's streams from being refreshed.
func (s *Server) limits() auth.Interceptor {
	return auth.Interceptor{
		Unary: func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			id, _ := auth.FromContext(ctx)
			name := info.FullMethod + "\x00" + accountOf(id)
			if !s.calls.take(name) {
				return nil, auth.Refusef(auth.TooManyStreams, "%q has %d calls of the method under way", id.User, s.calls.limit).After(time.Second)
			}
			defer s.calls.release(name)
			return handler(ctx, req)
		},
		Stream: func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			id, _ := auth.FromContext(stream.Context())
			name := accountOf(id)
			if !s.streams.take(name) {
				return auth.Refusef(auth.TooManyStreams, "%q has %d streams open", id.User, s.streams.limit).After(time.Second)
			}
			defer s.streams.release(name)
			return handler(srv, stream)
		},
	}
}
