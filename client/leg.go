package client

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	chatpb "securechat/proto/chat"
)

// A leg is the part of a stream that goes over one line: one call that the
// server has admitted.
type leg struct {
	line   *line
	call   grpc.BidiStreamingClient[chatpb.ChatMessage, chatpb.ChatMessage]
	cancel context.CancelCauseFunc
	lease  *lease
	user   string
	spans  *spans // nil: no tracing

	// next is the leg that follows. It is set before the call is half-closed, and
	// so before the call ends in order.
	next atomic.Pointer[leg]

	// reading is held by whoever reads the call: the goroutine that receives, and
	// for good the one that reads the leg out once it has seized it.
	reading sync.Mutex
	seized  bool  // its messages come through the spool
	end     error // how the call ended, as the goroutine that receives has seen it
}

// receive reads the next message, into the one that is given or out of the spool
// of one who has seized the leg. It is for the goroutine that receives.
func (l *leg) receive(into *chatpb.ChatMessage, ahead *spool) (*chatpb.ChatMessage, error) {
	l.reading.Lock()
	defer l.reading.Unlock()
	switch {
	case l.end != nil:
		return nil, l.end
	case l.seized:
		into, l.end = ahead.take()
	default:
		l.end = l.call.RecvMsg(into)
	}
	return into, l.end
}

// seize waits for a Receive that is under way and has the next ones look into the
// spool. It returns false where the call has been read to its end.
func (l *leg) seize() bool {
	l.reading.Lock()
	defer l.reading.Unlock()
	l.seized = l.end == nil
	return l.seized
}

// reach opens a leg over the line, which the caller holds. ctx bounds the
// opening; the leg lasts until it is let go or life ends.
//
// Metadata in the contexts does not count: the stream's is all this package's
// own.
func (c *Conn) reach(ctx, life context.Context, via *line, md metadata.MD, token string) (*leg, error) {
	if c.tracer == nil {
		return c.admitted(ctx, life, via, md, token)
	}
	ctx, span := c.startConnect(ctx)
	if traceparent := chatpb.FormatTraceparent(span.SpanContext()); traceparent != "" {
		md = md.Copy()
		md.Set(chatpb.MetadataTraceparent, traceparent)
	}
	l, err := c.admitted(ctx, life, via, md, token)
	var refusal *Error
	errors.As(err, &refusal)
	endConnect(span, refusal)
	if err != nil {
		return nil, err
	}
	l.spans = newSpans(c.tracer, l.user, trace.SpanContextFromContext(ctx))
	return l, nil
}

// admitted makes the call and waits for the server's word.
func (c *Conn) admitted(ctx, life context.Context, via *line, md metadata.MD, token string) (*leg, error) {
	callCtx, cancel := context.WithCancelCause(metadata.NewOutgoingContext(life, md))
	opened := context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	header, call, err := via.open(callCtx, token)
	if !opened() {
		cancel(context.Cause(ctx))
		return nil, outOfTime(c.server, ctx, via.link.last())
	}
	if err != nil {
		cancel(err)
		return nil, fromStatus(c.server, err, via.link.last())
	}
	user, expires, err := readAdmission(header)
	if err != nil {
		cancel(err)
		return nil, &Error{Server: c.server, Code: codes.Internal, Text: err.Error(), cause: err}
	}
	over, _ := peer.FromContext(call.Context())
	l := &leg{line: via, call: call, cancel: cancel, user: user, lease: newLease(via, localAddress(over), expires)}
	c.lines.hold(via)
	c.keeper.add(l.lease)
	return l, nil
}

// leave lets go of a leg, once.
func (c *Conn) leave(l *leg) {
	l.cancel(nil)
	c.keeper.remove(l.lease)
	c.lines.drop(l.line)
}
