package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	chatpb "securechat/proto/chat"
)

// Open opens an echo stream and returns once the server has admitted it. It does
// not wait for a server that is away: where connecting fails, so does Open, and
// until the next attempt, which is at most 10 s later, with the same error.
//
// The error is an *Error, or that of the token source, wrapped. The context
// bounds the opening alone; Close ends the stream.
func (c *Conn) Open(ctx context.Context) (*Stream, error) {
	return c.open(ctx, metadata.MD{})
}

// open opens a stream with metadata that says which. Metadata in the context
// does not count: the stream's is all this package's own.
func (c *Conn) open(ctx context.Context, md metadata.MD) (*Stream, error) {
	token, err := obtain(ctx, c.token)
	if err != nil {
		return nil, err
	}
	if c.tracer == nil {
		return c.admitted(ctx, md, token)
	}
	ctx, span := c.startConnect(ctx)
	if traceparent := chatpb.FormatTraceparent(span.SpanContext()); traceparent != "" {
		md.Set(chatpb.MetadataTraceparent, traceparent)
	}
	stream, err := c.admitted(ctx, md, token)
	var refusal *Error
	errors.As(err, &refusal)
	endConnect(span, refusal)
	if err != nil {
		return nil, err
	}
	stream.spans = newSpans(c.tracer, stream.user, trace.SpanContextFromContext(ctx))
	return stream, nil
}

// admitted makes the call and waits for the server's word.
func (c *Conn) admitted(ctx context.Context, md metadata.MD, token string) (*Stream, error) {
	streamCtx, cancel := context.WithCancelCause(metadata.NewOutgoingContext(context.WithoutCancel(ctx), md))
	opened := context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	header, call, err := c.line.open(streamCtx, token)
	if !opened() {
		cancel(context.Cause(ctx))
		return nil, outOfTime(c.server, ctx, c.line.link.last())
	}
	if err != nil {
		cancel(err)
		return nil, fromStatus(c.server, err, c.line.link.last())
	}
	user, expires, err := readAdmission(header)
	if err != nil {
		cancel(err)
		return nil, &Error{Server: c.server, Code: codes.Internal, Text: err.Error(), cause: err}
	}
	over, _ := peer.FromContext(call.Context())
	s := &Stream{
		server: c.server, grpc: call, ctx: streamCtx, cancel: cancel, user: user,
		link: c.line.link, keeper: c.keeper, lease: newLease(c.line, localAddress(over), expires),
	}
	s.sending.cancel, s.receiving.cancel = cancel, cancel
	c.keeper.add(s.lease)
	return s, nil
}

// open makes the call and returns what the server says of the stream.
func (l *line) open(ctx context.Context, token string) (metadata.MD, grpc.BidiStreamingClient[chatpb.ChatMessage, chatpb.ChatMessage], error) {
	call, err := l.chat.ChatStream(ctx, grpc.PerRPCCredentials(bearer(token)))
	if err != nil {
		return nil, nil, err
	}
	header, err := call.Header()
	if err != nil {
		return nil, nil, err
	}
	if header != nil {
		return header, call, nil
	}
	// The call is over already, and Recv has how.
	if _, err = call.Recv(); err == nil || errors.Is(err, io.EOF) {
		err = status.Error(codes.Internal, "the server ended the stream without admitting it")
	}
	return nil, nil, err
}

// readAdmission reads what the server says of a stream that it admits. Both
// headers are optional; one that is there must be well formed.
func readAdmission(header metadata.MD) (user string, expires time.Time, err error) {
	if values := header.Get(chatpb.HeaderUser); len(values) > 0 {
		if user, err = chatpb.UnescapeUser(values[0]); err != nil {
			return "", time.Time{}, fmt.Errorf("the server's header %s does not parse: ask its operator", chatpb.HeaderUser)
		}
	}
	if values := header.Get(chatpb.HeaderExpires); len(values) > 0 {
		if expires, err = time.Parse(time.RFC3339, values[0]); err != nil {
			return "", time.Time{}, fmt.Errorf("the server's header %s does not parse: ask its operator", chatpb.HeaderExpires)
		}
	}
	return user, expires, nil
}
