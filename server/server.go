// Package server assembles the chat service: the chain of interceptors, listed
// once in chain.go, the echo, rooms, health, and the limits.
//
//	source, err := certs.Files(certs.Paths{Certificate: "server.crt", Key: "server.key", Roots: "clients.crt"})
//	...
//	srv, err := server.New(server.Config{Certificates: source, Tokens: verifier})
//	...
//	err = srv.Serve(listener)
//
// Every call is authenticated by certificate and token, or refused, before a
// handler sees any of it; there is no configuration in which it is not.
package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"golang.org/x/net/netutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/experimental"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/mem"

	"securechat/auth"
	"securechat/certs"
	authpb "securechat/proto/auth/v1"
	chatpb "securechat/proto/chat"
)

// Config is all that a Server needs to know.
type Config struct {
	// Certificates has the server's certificate, the roots that clients'
	// certificates must lead to, and what is revoked. Required.
	Certificates certs.Source
	// Tokens verifies bearer tokens. Required.
	Tokens auth.TokenVerifier
	// Bind, Identity and TrustDomain are those of auth.Config.
	Bind        auth.Bind
	Identity    certs.Kind
	TrustDomain string
	// MaxSession is how long a stream may live however often its token is
	// refreshed; 0 sets no bound.
	MaxSession time.Duration
	// Rooms is where rooms are kept. Optional: without a log every room is refused.
	// A server with rooms must be shut down, whether or not it has served.
	Rooms Rooms
	// Limits bound what callers can take.
	Limits Limits
	// Log has a line for each admission, refusal and end; by default
	// slog.Default().
	Log *slog.Logger
	// Tracing makes the spans; nil makes none.
	Tracing trace.TracerProvider
	// Metrics makes the instruments; nil makes none.
	Metrics metric.MeterProvider
	// Now is the clock; by default time.Now.
	Now func() time.Time
}

// A Server is the chat service. Serve and Shutdown may be called concurrently.
type Server struct {
	config  Config
	policy  auth.Policy
	guard   *auth.Guard
	grpc    *grpc.Server
	health  *health.Server
	tracer  trace.Tracer
	metrics *metrics
	streams *tally
	calls   *tally
	quiet   *quiet
	gate    *gate
	codec   *codec
	rooms   *rooms          // nil: there are none
	unary   map[string]bool // the methods that are not streams
	// roomPolicy says who may be in which room; nil forbids nothing.
	roomPolicy atomic.Pointer[RoomPolicy]
}

// New assembles a server. It refuses a configuration that would leave a method
// unguarded.
func New(config Config) (*Server, error) { return assemble(config, nil) }

// assemble is New with a service of the caller's behind the chain, in place of
// the echo.
func assemble(config Config, service chatpb.ChatServer) (*Server, error) {
	if config.Certificates == nil || config.Certificates.Material().Certificate() == nil {
		return nil, errors.New("server: Config.Certificates must have the server's certificate")
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Log == nil {
		config.Log = slog.Default()
	}
	config.Limits = config.Limits.withDefaults()
	s := &Server{config: config, health: health.NewServer(), streams: newTally(config.Limits.StreamsPerIdentity),
		calls: newTally(config.Limits.CallsPerIdentity),
		quiet: newQuiet(config.Now), codec: newCodec(config.Limits.MessageBytes), unary: make(map[string]bool)}
	s.tracer = noop.NewTracerProvider().Tracer("")
	if config.Tracing != nil {
		s.tracer = config.Tracing.Tracer("securechat/server")
	}
	s.policy = s.rules()
	var err error
	if s.metrics, err = newMetrics(s.meter(), config.Certificates, config.Now); err != nil {
		return nil, err
	}
	if s.rooms, err = s.newRooms(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.rooms.close(config.Log)
		}
	}()
	s.guard, err = auth.New(auth.Config{
		Certificates: config.Certificates,
		Tokens:       config.Tokens,
		Policy:       s.policy,
		Bind:         config.Bind,
		Identity:     config.Identity,
		TrustDomain:  config.TrustDomain,
		MaxSession:   config.MaxSession,
		Now:          config.Now,
		Log:          config.Log,
	})
	if err != nil {
		return nil, err
	}
	s.gate = newGate(s)
	s.grpc = grpc.NewServer(append(s.transport(), auth.Chain(s.chain()...)...)...)
	if service == nil {
		service = chat{server: s}
	}
	services := auth.Registrar(s.grpc)
	chatpb.RegisterChatServer(services, service)
	authpb.RegisterSessionServer(services, s.guard.SessionServer())
	healthpb.RegisterHealthServer(services, s.health)
	s.health.SetServingStatus(chatpb.Chat_ServiceDesc.ServiceName, healthpb.HealthCheckResponse_SERVING)
	for name, service := range s.grpc.GetServiceInfo() {
		for _, method := range service.Methods {
			s.unary["/"+name+"/"+method.Name] = !method.IsClientStream && !method.IsServerStream
		}
	}
	if err = s.guard.Covers(s.grpc); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Server) meter() metric.Meter {
	if s.config.Metrics == nil {
		return metricnoop.NewMeterProvider().Meter("")
	}
	return s.config.Metrics.Meter("securechat/server")
}

// transport is everything below the calls. Windows are fixed because grpc-go's
// estimator of the bandwidth-delay product costs pings, and a window that grows
// costs memory that a client chooses.
func (s *Server) transport() []grpc.ServerOption {
	l := s.config.Limits
	return []grpc.ServerOption{
		grpc.Creds(s.gate),
		grpc.InTapHandle(s.door),
		grpc.ForceServerCodecV2(s.codec),
		grpc.UnknownServiceHandler(auth.Unlisted),
		grpc.ConnectionTimeout(l.Handshake),
		grpc.MaxConcurrentStreams(l.StreamsPerConnection),
		grpc.MaxHeaderListSize(l.HeaderBytes),
		grpc.MaxRecvMsgSize(l.MessageBytes + transportSlack),
		experimental.BufferPool(mem.NewTieredBufferPool(bufferSizes...)),
		grpc.StaticStreamWindowSize(64 << 10),
		grpc.StaticConnWindowSize(1 << 20),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: l.Keepalive, Timeout: l.KeepaliveTimeout, MaxConnectionIdle: l.Idle}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: l.MinPing, PermitWithoutStream: true}),
		grpc.WaitForHandlers(true),
	}
}

// Serve accepts connections on listener. It returns nil once Shutdown is done,
// or the listener's error. It closes the listener.
func (s *Server) Serve(listener net.Listener) error {
	ctx, cancel := context.WithCancel(context.Background())
	tended := make(chan struct{})
	go func() {
		defer close(tended)
		s.gate.tend(ctx)
	}()
	defer func() { cancel(); <-tended }()
	return s.grpc.Serve(netutil.LimitListener(listener, s.config.Limits.Connections+handshakeRoom))
}

// handshakeRoom is how many connections may be in their handshakes beside those
// that are established, so that strangers do not take the places of clients.
const handshakeRoom = 4096

// bufferSizes follow messages more closely than grpc-go's own, whose step from
// 32 KiB to 1 MiB lets a client have thirty times of what it sends.
var bufferSizes = []int{256, 4 << 10, 16 << 10, 32 << 10, 64 << 10, 128 << 10, 256<<10 + 1<<10, 1 << 20}

// Sessions returns the streams that are live now, the oldest first.
func (s *Server) Sessions() []auth.Session { return s.guard.Sessions() }

// End ends a live stream with EXPELLED, and says whether there was one of that ID.
func (s *Server) End(id string) bool { return s.guard.End(id) }

// Shutdown tells probers that the server is going, refuses new streams, and ends
// those that are open, as auth.Guard.Drain does, spread over half of the time
// that ctx gives. What is left when ctx ends is cut off. It returns when no
// handler runs any more and the rooms have been closed.
func (s *Server) Shutdown(ctx context.Context) {
	s.health.Shutdown()
	s.drain(ctx)
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		s.grpc.GracefulStop()
	}()
	select {
	case <-drained:
	case <-ctx.Done():
		s.grpc.Stop()
		<-drained
	}
	s.guard.Wait()
	s.rooms.close(s.config.Log)
}

// Available says why the server cannot do what it is there for, such as that the
// log of its rooms is not available; nil where it can.
func (s *Server) Available(ctx context.Context) error {
	if s.rooms == nil {
		return nil
	}
	return s.rooms.available(ctx)
}

// drain leaves a quarter of the time that there is for the ends to reach their
// clients.
func (s *Server) drain(ctx context.Context) {
	deadline, bounded := ctx.Deadline()
	if !bounded {
		s.guard.Drain(ctx, time.Minute)
		return
	}
	left := time.Until(deadline)
	within, cancel := context.WithTimeout(ctx, left*3/4)
	defer cancel()
	s.guard.Drain(within, left/2)
}
