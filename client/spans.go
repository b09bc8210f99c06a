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

// traceOf is the trace id of a well-formed traceparent; empty where that is empty.
func traceOf(traceparent string) string {
	const start, end = 3, 35
	if len(traceparent) < end {
		return ""
	}
	return traceparent[start:end]
}

// canonical is a code as the semantic conventions write it, in capitals.
func canonical(c grpccodes.Code) string { return rpccode.Code(c).String() }

// spans makes those of a stream's messages. What is the same in all of them is
// made once, and given to a span only if it records: both cost more than a
// message does.
type spans struct {
	tracer     trace.Tracer
	attributes []attribute.KeyValue
	connect    trace.Link
	background context.Context
}

func newSpans(tracer trace.Tracer, user string, connect trace.SpanContext) *spans {
	return &spans{
		tracer:     tracer,
		attributes: append(rpcAttributes(), semconv.EnduserID(user)),
		connect:    trace.Link{SpanContext: connect},
		background: context.Background(),
	}
}

// The kinds of a message's spans, as the slices that Start takes.
var (
	producer = []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindProducer)}
	consumer = []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindConsumer)}
)

// sending begins the span of a message and returns its traceparent.
func (s *spans) sending(ctx context.Context) (trace.Span, string) {
	_, span := s.tracer.Start(ctx, "send", producer...)
	s.describe(span)
	return span, chatpb.FormatTraceparent(span.SpanContext())
}

// received makes the span of a message that has arrived. The span marks the
// moment: what a program does with the message is not in it. A message whose
// trace is not kept where it comes from gets none, whatever the sampler says:
// it would be a span without a parent.
func (s *spans) received(parent trace.SpanContext) {
	if !parent.IsSampled() {
		return
	}
	_, span := s.tracer.Start(trace.ContextWithRemoteSpanContext(s.background, parent), "receive", consumer...)
	s.describe(span)
	span.End()
}

func (s *spans) describe(span trace.Span) {
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(s.attributes...)
	if s.connect.SpanContext.IsValid() {
		span.AddLink(s.connect)
	}
}
