package server

import (
	"context"
	"time"

	"google.golang.org/grpc"

	"securechat/auth"
	chatpb "securechat/proto/chat"
)

// process gives each message of an echo stream a span of its own, from its receipt
// to the acknowledgement handed to the transport, and counts both. In a room
// several messages are under way at a time, and a conversation does the same.
func (s *Server) process() auth.Interceptor {
	return auth.Interceptor{
		Stream: func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			if _, inRoom := memberFrom(stream.Context()); inRoom || info.FullMethod != chatpb.Chat_ChatStream_FullMethodName {
				return handler(srv, stream)
			}
			processed := &processedStream{
				ServerStream: stream,
				ctx:          stream.Context(),
				metrics:      s.metrics,
				now:          s.config.Now,
				spans:        s.messageSpans(stream.Context()),
			}
			defer processed.end()
			return handler(srv, processed)
		},
	}
}

// measured is how many messages there are to one whose latency is measured:
// reading the clock twice and recording cost as much as the decoding.
const measured = 16

// processedStream works for a handler that answers one message before it reads
// the next, on one goroutine.
type processedStream struct {
	grpc.ServerStream
	ctx     context.Context
	metrics *metrics
	now     func() time.Time
	spans   messageSpans

	count       uint64    // messages received
	received    time.Time // when the message in work was received; zero: not measured
	working     bool      // a message has been received and not acknowledged
	messageSpan           // of the message in work
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
		p.messageSpan = p.spans.begin(message.Traceparent)
	}
	return nil
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
