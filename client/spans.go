package client

import (
	"context"
	"net"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	rpccode "google.golang.org/genproto/googleapis/rpc/code"
	grpccodes "google.golang.org/grpc/codes"

	chatpb "securechat/proto/chat"
)

func rpcAttributes() []attribute.KeyValue {
	return []attribute.KeyValue{
		semconv.RPCSystemNameGRPC,
		semconv.RPCMethod(chatpb.Chat_ChatStream_FullMethodName[1:]),
	}
}

// startConnect begins the short span of a stream's opening.
func (c *Conn) startConnect(ctx context.Context) (context.Context, trace.Span) {
	attributes := rpcAttributes()
	if host, port, err := net.SplitHostPort(c.server); err == nil {
		number, _ := strconv.Atoi(port)
		attributes = append(attributes, semconv.ServerAddress(host), semconv.ServerPort(number))
	}
	return c.tracer.Start(ctx, "connect", trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attributes...))
}

// endConnect ends it, with the reason of a refusal.
func endConnect(span trace.Span, refusal *Error) {
	defer span.End()
	if refusal == nil {
		span.SetAttributes(semconv.RPCResponseStatusCode("OK"))
		return
	}
	kind := canonical(refusal.Code)
	if refusal.Reason != "" {
		kind = string(refusal.Reason)
	}
	span.SetAttributes(semconv.RPCResponseStatusCode(canonical(refusal.Code)), semconv.ErrorTypeKey.String(kind))
	span.SetStatus(codes.Error, kind)
}

// canonical is a code as the semantic conventions write it, in capitals.
func canonical(c grpccodes.Code) string { return rpccode.Code(c).String() }

// spans makes those of a stream's messages. Their options are made once, since
// making them costs more than a message does.
type spans struct {
	tracer        trace.Tracer
	send, receive []trace.SpanStartOption
	background    context.Context
}

func newSpans(tracer trace.Tracer, user string, connect trace.SpanContext) *spans {
	shared := []trace.SpanStartOption{trace.WithAttributes(append(rpcAttributes(), semconv.EnduserID(user))...)}
	if connect.IsValid() {
		shared = append(shared, trace.WithLinks(trace.Link{SpanContext: connect}))
	}
	kind := func(k trace.SpanKind) []trace.SpanStartOption {
		return append([]trace.SpanStartOption{trace.WithSpanKind(k)}, shared...)
	}
	return &spans{
		tracer:     tracer,
		send:       kind(trace.SpanKindProducer),
		receive:    kind(trace.SpanKindConsumer),
		background: context.Background(),
	}
}

// sending begins the span of a message and returns its traceparent.
func (s *spans) sending(ctx context.Context) (trace.Span, string) {
	_, span := s.tracer.Start(ctx, "send", s.send...)
	return span, chatpb.FormatTraceparent(span.SpanContext())
}

// received makes the span of a message that has arrived. The span marks the
// moment: what a program does with the message is not in it.
func (s *spans) received(parent trace.SpanContext) {
	_, span := s.tracer.Start(trace.ContextWithRemoteSpanContext(s.background, parent), "receive", s.receive...)
	span.End()
}
