package server

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	middleware "github.com/grpc-ecosystem/go-grpc-middleware/v2"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	rpccode "google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc"
	grpccodes "google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"securechat/auth"
	chatpb "securechat/proto/chat"
)

// A call is what the log, the metrics and the connect span know of one call.
// Its fields are written by the steps before Supervise, on one goroutine, and
// only read behind it, but for what is atomic: behind Supervise a call may be
// admitted on one goroutine while it ends on another.
type call struct {
	method   string
	peer     string
	peerHost string // the peer without its port
	subject  string // of the certificate
	started  time.Time
	connect  trace.Span // ends with the admission or the refusal
	user     string
	settled  atomic.Int32 // undecided, open or refused
	log      *slog.Logger
}

// What settled says.
const (
	undecided int32 = iota
	open
	refused
)

type callKey struct{}

func callFrom(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// observe logs, counts and traces every call, the refused ones too, and reduces
// what comes back to what a client may be told.
func (s *Server) observe() auth.Interceptor {
	return auth.Interceptor{
		Unary: func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			c := s.begin(ctx, info.FullMethod)
			response, err := handler(context.WithValue(ctx, callKey{}, c), req)
			patientWith(ctx, err)
			s.endUnary(ctx, c, err)
			return response, wire(err)
		},
		Stream: func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			c := s.begin(stream.Context(), info.FullMethod)
			c.connect = s.startConnect(stream.Context(), info.FullMethod)
			ctx := context.WithValue(stream.Context(), callKey{}, c)
			err := handler(srv, &middleware.WrappedServerStream{ServerStream: stream, WrappedContext: ctx})
			patientWith(ctx, err)
			s.endStream(ctx, c, err)
			return wire(err)
		},
	}
}

func (s *Server) begin(ctx context.Context, method string) *call {
	c := &call{method: method, started: s.config.Now(), log: s.config.Log}
	if p, ok := peer.FromContext(ctx); ok {
		c.peer, c.peerHost = p.Addr.String(), addressOf(p.Addr)
		if info, ok := p.AuthInfo.(credentials.TLSInfo); ok && len(info.State.PeerCertificates) > 0 {
			c.subject = bounded(info.State.PeerCertificates[0].Subject.String())
		}
	}
	return c
}

// name is the step that tells the call who makes it.
func (s *Server) name() auth.Interceptor {
	return auth.Check(func(ctx context.Context, _ string) (context.Context, error) {
		if c := callFrom(ctx); c != nil {
			id, _ := auth.FromContext(ctx)
			c.user = id.User
			if c.connect != nil {
				c.connect.SetAttributes(semconv.EnduserID(id.User))
			}
		}
		return ctx, nil
	}).Interceptor()
}

// startConnect begins the short span of a stream's opening. Its parent is what
// the client says in its metadata, which is bounded by its form. A client that
// says its trace is not sampled does not keep its refusal from being seen: then
// the span is a root, and the server's own sampler decides.
func (s *Server) startConnect(ctx context.Context, method string) trace.Span {
	if values := metadata.ValueFromIncomingContext(ctx, chatpb.MetadataTraceparent); len(values) == 1 {
		if parent, ok := chatpb.ParseTraceparent(values[0]); ok && parent.IsSampled() {
			ctx = trace.ContextWithRemoteSpanContext(ctx, parent)
		}
	}
	_, span := s.tracer.Start(ctx, "connect", trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(rpcAttributes(s.known(method))...))
	return span
}

func rpcAttributes(method string) []attribute.KeyValue {
	return []attribute.KeyValue{semconv.RPCSystemNameGRPC, semconv.RPCMethod(strings.TrimPrefix(method, "/"))}
}

// known returns method where the server has it, and otherwise one name for all
// others: a client must not choose what a metric or a span is called.
func (s *Server) known(method string) string {
	if _, ok := s.policy[method]; ok {
		return method
	}
	return "_OTHER"
}

// admitted ends the opening, unless the call has been refused meanwhile.
func (c *call) admitted() {
	if !c.settled.CompareAndSwap(undecided, open) {
		return
	}
	c.connect.SetAttributes(semconv.RPCResponseStatusCode("OK"))
	c.connect.End()
	c.log.Info("admitted", c.attributes()...)
}

func (s *Server) endStream(ctx context.Context, c *call, err error) {
	if c.settled.CompareAndSwap(undecided, refused) {
		s.refused(ctx, c, err)
		return
	}
	attributes := append(c.attributes(), slog.Duration("duration", s.config.Now().Sub(c.started)), slog.String("code", codeOf(err).String()))
	reason, ours := auth.ReasonOf(err)
	if ours {
		s.metrics.cut(ctx, reason)
		attributes = append(attributes, slog.String("reason", string(reason)), slog.String("cause", cause(err, reason)))
	}
	if reason == auth.Internal || codeOf(err) == grpccodes.Internal {
		c.log.Error("ended", append(attributes, slog.Any("error", err))...)
		return
	}
	c.log.Info("ended", attributes...)
}

func (s *Server) refused(ctx context.Context, c *call, err error) {
	if err == nil {
		err = auth.Refusef(auth.Internal, "a call ended without having been admitted")
	}
	reason, ours := auth.ReasonOf(err)
	if !ours {
		reason = reasonOf(codeOf(err))
	}
	s.metrics.refused(ctx, s.known(c.method), reason)
	if c.connect != nil {
		c.connect.SetAttributes(semconv.RPCResponseStatusCode(canonical(codeOf(err))), semconv.ErrorTypeKey.String(string(reason)))
		c.connect.SetStatus(codes.Error, string(reason))
		c.connect.End()
	}
	level := slog.LevelWarn
	switch {
	case reason == auth.Internal:
		level = slog.LevelError
	case !ours:
		level = slog.LevelInfo // the client's own doing, such as going away
	}
	s.withholding(ctx, c, level, append(c.attributes(),
		slog.String("code", codeOf(err).String()), slog.String("reason", string(reason)), slog.String("cause", cause(err, reason))))
}

// reasonOf is what an end that none of our reasons explains counts under.
func reasonOf(code grpccodes.Code) auth.Reason {
	switch code {
	case grpccodes.Unknown, grpccodes.Internal, grpccodes.DataLoss:
		return auth.Internal
	default:
		return auth.Reason(canonical(code))
	}
}

// cause is err for the log: whole where the fault is ours, with its stack if it
// has one, and bounded where a client may have chosen it.
func cause(err error, reason auth.Reason) string {
	if reason == auth.Internal {
		return err.Error()
	}
	return bounded(err.Error())
}

func (s *Server) endUnary(ctx context.Context, c *call, err error) {
	if err != nil {
		s.refused(ctx, c, err)
		return
	}
	c.log.Debug("answered", append(c.attributes(), slog.Duration("duration", s.config.Now().Sub(c.started)))...)
}

func (c *call) attributes() []any {
	attributes := []any{slog.String("method", bounded(c.method)), slog.String("peer", c.peer), slog.String("certificate", c.subject)}
	if c.user != "" {
		attributes = append(attributes, slog.String("user", c.user))
	}
	if c.connect != nil && c.connect.SpanContext().HasTraceID() {
		attributes = append(attributes, slog.String("trace_id", c.connect.SpanContext().TraceID().String()))
	}
	return attributes
}

// bounded keeps what a client chose from filling the log.
func bounded(text string) string {
	const most = 300
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}

// codeOf is the code that a client gets for err.
func codeOf(err error) grpccodes.Code { return status.Code(wire(err)) }

// wire reduces err to what a client may be told: the face of a refusal, a
// status as its author made it, or that the server failed.
func wire(err error) error {
	if err == nil {
		return nil
	}
	var refusal *auth.Refusal
	if errors.As(err, &refusal) {
		return refusal.GRPCStatus().Err()
	}
	if st, ok := status.FromError(err); ok && st.Code() != grpccodes.Unknown {
		if direct, ok := err.(interface{ GRPCStatus() *status.Status }); ok {
			return direct.GRPCStatus().Err()
		}
		return status.Error(st.Code(), st.Code().String())
	}
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, io.EOF):
		return status.Error(grpccodes.Canceled, "the call was cancelled")
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(grpccodes.DeadlineExceeded, "the call's deadline has passed")
	}
	return auth.Refuse(auth.Internal, err).GRPCStatus().Err()
}

// canonical is a code as the semantic conventions write it, in capitals.
func canonical(c grpccodes.Code) string { return rpccode.Code(c).String() }
