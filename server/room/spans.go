package room

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	chatpb "securechat/proto/chat"
)

// The attributes of spans are made once: making them for each message would cost
// more than most spans.
var (
	storeAttributes   = operation("store")
	deliverAttributes = operation("deliver")
	storeKind         = []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindProducer)}
	deliverKind       = []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindInternal)}
)

func operation(name string) []attribute.KeyValue {
	return []attribute.KeyValue{
		semconv.MessagingSystemKey.String("securechat"),
		semconv.MessagingOperationName(name),
	}
}

// delivered is the number of members that a message is delivered to on this node.
const delivered = attribute.Key("chat.members")

// storing begins the span of a post, from its being taken until it is durable, and
// returns the trace context in which it is stored. A post without one has none: who
// posts it has decided that it is not traced, and a sampler that were asked again
// would make a trace of some that lacks its beginning.
func (h *Hub) storing(p *post) (traceparent string) {
	if h.config.Tracer == nil || !p.Trace.IsValid() {
		return chatpb.FormatTraceparent(p.Trace)
	}
	ctx := trace.ContextWithSpanContext(context.Background(), p.Trace)
	_, span := h.config.Tracer.Start(ctx, "store", storeKind...)
	if !span.IsRecording() {
		return chatpb.FormatTraceparent(p.Trace)
	}
	span.SetAttributes(storeAttributes...)
	p.span = span
	return chatpb.FormatTraceparent(span.SpanContext())
}

// stored ends the span. Nil is for what was stored.
func (p *post) stored(err error) {
	if p.span == nil {
		return
	}
	if err != nil {
		p.span.SetAttributes(semconv.ErrorTypeKey.String("unavailable"))
		p.span.SetStatus(codes.Error, "it could not be stored")
	}
	p.span.End()
	p.span = nil
}

// delivering makes a span of a message's being handed to members, once for all,
// and returns the trace context in which they get it.
func (h *Hub) delivering(e *Entry, members int) (traceparent string) {
	if h.config.Tracer == nil || e.Traceparent == "" {
		return e.Traceparent
	}
	parent, ok := chatpb.ParseTraceparent(e.Traceparent)
	if !ok {
		return e.Traceparent
	}
	ctx := trace.ContextWithRemoteSpanContext(context.Background(), parent)
	_, span := h.config.Tracer.Start(ctx, "deliver", deliverKind...)
	defer span.End()
	if !span.IsRecording() {
		return e.Traceparent
	}
	span.SetAttributes(deliverAttributes...)
	span.SetAttributes(delivered.Int(members))
	return chatpb.FormatTraceparent(span.SpanContext())
}
