package server

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"

	"securechat/auth"
	chatpb "securechat/proto/chat"
)

// process gives each message of a chat stream a span of its own, from its
// receipt to the acknowledgement handed to the transport, and counts both. The
// span's parent is the message's own traceparent; without one it is the root of
// a trace.
func (s *Server) process() auth.Interceptor {
	return auth.Interceptor{
		Stream: func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			if info.FullMethod != chatpb.Chat_ChatStream_FullMethodName {
				return handler(srv, stream)
			}
			processed := &processedStream{
				ServerStream: stream,
				ctx:          stream.Context(),
				metrics:      s.metrics,
				now:          s.config.Now,
			}
			if s.config.Tracing != nil {
				processed.tracer = s.tracer
				processed.attributes, processed.connect = processAttributes(stream.Context())
			}
			defer processed.end()
			return handler(srv, processed)
		},
	}
}

// processAttributes returns what is the same in every message's span on one
// stream: the attributes, and the link to the stream's own span.
func processAttributes(ctx context.Context) ([]attribute.KeyValue, trace.Link) {
	id, _ := auth.FromContext(ctx)
	attributes := append(rpcAttributes(chatpb.Chat_ChatStream_FullMethodName), semconv.EnduserID(id.User))
	var link trace.Link
	if c := callFrom(ctx); c != nil && c.connect != nil {
		link.SpanContext = c.connect.SpanContext()
	}
	return attributes, link
}

// processKind is the one option of a message's span, as the slice that Start
// takes: making it for each message would cost more than the span's decision.
var processKind = []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindConsumer)}

// measured is how many messages there are to one whose latency is measured:
// reading the clock twice and recording cost as much as the decoding.
const measured = 16

// processedStream works for a handler that answers one message before it reads
// the next, on one goroutine.
type processedStream struct {
	grpc.ServerStream
	ctx        context.Context
	metrics    *metrics
	now        func() time.Time
	tracer     trace.Tracer // nil: no spans
	attributes []attribute.KeyValue
	connect    trace.Link

	count       uint64    // messages received
	received    time.Time // when the message in work was received; zero: not measured
	working     bool      // a message has been received and not acknowledged
	span        trace.Span
	traceparent string // what the acknowledgement carries
}

func (p *processedStream) RecvMsg(m any) error {
	p.end()
	if err := p.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	p.metrics.received.Add(1)
	p.working = true
	if p.count%measured == 0 {
		p.received = p.now()
	}
	p.count++
	if message, ok := m.(*chatpb.ChatMessage); ok {
		p.begin(message.Traceparent)
	}
	return nil
}

// begin starts the span of a message that came with traceparent. The
// acknowledgement carries the span on, or, where there is none to see, what the
// client had sent.
func (p *processedStream) begin(traceparent string) {
	p.traceparent = ""
	parent, ok := trace.SpanContext{}, false
	if traceparent != "" {
		if parent, ok = chatpb.ParseTraceparent(traceparent); ok {
			p.traceparent = traceparent
			if len(traceparent) != chatpb.TraceparentLength { // of a later version, whose length nothing bounds
				p.traceparent = chatpb.FormatTraceparent(parent)
			}
		}
	}
	if p.tracer == nil {
		return
	}
	ctx := context.Background()
	if ok {
		ctx = trace.ContextWithRemoteSpanContext(ctx, parent)
	}
	// What only a recording span needs is given to it afterwards: most spans of
	// a sampled service do not record.
	_, span := p.tracer.Start(ctx, "process", processKind...)
	if span.IsRecording() {
		span.SetAttributes(p.attributes...)
		span.AddLink(p.connect)
		p.span = span
		p.traceparent = chatpb.FormatTraceparent(span.SpanContext())
	}
}

func (p *processedStream) SendMsg(m any) error {
	ack, ok := m.(*chatpb.ChatMessage)
	if ok {
		ack.Traceparent = p.traceparent
	}
	if err := p.ServerStream.SendMsg(m); err != nil {
		return err
	}
	if ok && p.working {
		p.working = false
		p.metrics.acknowledged.Add(1)
		if !p.received.IsZero() {
			p.metrics.latency.Record(p.ctx, p.now().Sub(p.received).Seconds())
			p.received = time.Time{}
		}
	}
	p.end()
	return nil
}

func (p *processedStream) end() {
	if p.span != nil {
		p.span.End()
		p.span = nil
	}
}
