package server

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"

	"securechat/auth"
	chatpb "securechat/proto/chat"

	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
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
				background:   context.Background(),
			}
			if s.config.Tracing != nil {
				processed.tracer = s.tracer
				processed.options = processOptions(stream.Context())
			}
			defer processed.end()
			return handler(srv, processed)
		},
	}
}

// processOptions are those of every message's span on one stream: made once,
// because making them costs more than the message does.
func processOptions(ctx context.Context) []trace.SpanStartOption {
	id, _ := auth.FromContext(ctx)
	attributes := append(rpcAttributes(chatpb.Chat_ChatStream_FullMethodName), semconv.EnduserID(id.User))
	options := []trace.SpanStartOption{
		trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithAttributes(attributes...),
	}
	if c := callFrom(ctx); c != nil && c.connect != nil && c.connect.SpanContext().IsValid() {
		options = append(options, trace.WithLinks(trace.Link{SpanContext: c.connect.SpanContext()}))
	}
	return options
}

// processedStream works for a handler that answers one message before it reads
// the next, on one goroutine.
type processedStream struct {
	grpc.ServerStream
	ctx        context.Context
	background context.Context
	metrics    *metrics
	now        func() time.Time
	tracer     trace.Tracer // nil: no spans
	options    []trace.SpanStartOption

	received    time.Time
	span        trace.Span // of the message that is being processed
	traceparent string     // what the acknowledgement carries
}

func (p *processedStream) RecvMsg(m any) error {
	p.end()
	if err := p.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	p.metrics.received.Add(1)
	p.received = p.now()
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
		}
	}
	if p.tracer == nil {
		return
	}
	ctx := p.background
	if ok {
		ctx = trace.ContextWithRemoteSpanContext(ctx, parent)
	}
	_, span := p.tracer.Start(ctx, "process", p.options...)
	if span.IsRecording() {
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
	if ok && !p.received.IsZero() {
		p.metrics.acknowledged.Add(1)
		p.metrics.latency.Record(p.ctx, p.now().Sub(p.received).Seconds())
		p.received = time.Time{}
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
