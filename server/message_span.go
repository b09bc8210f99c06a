package server

import (
	"context"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"securechat/auth"
	chatpb "securechat/proto/chat"
)

// messageSpans makes the spans of one stream's messages. What is the same in all of
// them is made once, and is little: the stream's own span, to which each links,
// has the rest. Each attribute more costs a message as much as its decoding.
type messageSpans struct {
	tracer     trace.Tracer // nil: there are no spans
	attributes []attribute.KeyValue
	connect    trace.Link
}

func (s *Server) messageSpans(ctx context.Context) messageSpans {
	if s.config.Tracing == nil {
		return messageSpans{}
	}
	id, _ := auth.FromContext(ctx)
	method := strings.TrimPrefix(chatpb.Chat_ChatStream_FullMethodName, "/")
	spans := messageSpans{tracer: s.tracer, attributes: []attribute.KeyValue{semconv.RPCMethod(method), semconv.EnduserID(id.User)}}
	if c := callFrom(ctx); c != nil && c.connect != nil {
		spans.connect.SpanContext = c.connect.SpanContext()
	}
	return spans
}

// processKind is the one option of a message's span, as the slice that Start
// takes: making it for each message would cost more than the span's decision.
var processKind = []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindConsumer)}

// A messageSpan goes from a message's receipt to its acknowledgement handed to the
// transport.
type messageSpan struct {
	span trace.Span // nil where none records
	// context is the span's, or where none records what the client had sent.
	context trace.SpanContext
	// traceparent is what the acknowledgement carries: context, written.
	traceparent string
}

// begin starts the span of a message that came with traceparent, which is its
// parent; without one it is the root of a trace.
func (s *messageSpans) begin(traceparent string) (m messageSpan) {
	parent, ok := trace.SpanContext{}, false
	if traceparent != "" {
		if parent, ok = chatpb.ParseTraceparent(traceparent); ok {
			m.context, m.traceparent = parent, traceparent
			if len(traceparent) != chatpb.TraceparentLength { // of a later version, whose length nothing bounds
				m.traceparent = chatpb.FormatTraceparent(parent)
			}
		}
	}
	if s.tracer == nil {
		return m
	}
	ctx := context.Background()
	if ok {
		ctx = trace.ContextWithRemoteSpanContext(ctx, parent)
	}
	// What only a recording span needs is given to it afterwards: most spans of
	// a sampled service do not record.
	_, span := s.tracer.Start(ctx, "process", processKind...)
	if span.IsRecording() {
		span.SetAttributes(s.attributes...)
		span.AddLink(s.connect)
		m.span, m.context = span, span.SpanContext()
		m.traceparent = chatpb.FormatTraceparent(m.context)
	}
	return m
}

// end may be called again.
func (m *messageSpan) end() {
	if m.span != nil {
		m.span.End()
		m.span = nil
	}
}
