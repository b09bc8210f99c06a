package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	chatpb "securechat/proto/chat"
)

// rotation is how far apart certificate and token may be replaced without an
// Open noticing: certs.Files takes up a change within half of it.
const rotation = time.Second

// Open opens an echo stream and returns once the server has admitted it. It does
// not wait for a server that is away: where connecting fails, so does Open, and
// until the next attempt, which is at most 5 s later, with the same error.
//
// Where the token belongs to another certificate than the client's, Open waits up
// to a second for Config.Certificates to change, if that is a certs.Notifier.
//
// The error is an *Error, or that of the token source, wrapped. The context
// bounds the opening alone; Close ends the stream.
func (c *Conn) Open(ctx context.Context) (*Stream, error) {
	s, err := c.open(ctx, metadata.MD{})
	if err != nil {
		return nil, err
	}
	c.mover.add(s)
	return s, nil
}

// open opens a stream with metadata that says which. The stream stays on its line
// unless the caller adds it to the mover.
func (c *Conn) open(ctx context.Context, md metadata.MD) (*Stream, error) {
	token, ways, err := c.pair(ctx)
	if err != nil {
		return nil, err
	}
	defer c.lines.drop(ways...)
	s := newStream(ctx, c, md)
	var first *leg
	for _, via := range ways {
		if first, err = c.reach(ctx, s.ctx, via, md, token); err == nil || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		s.end(err)
		return nil, err
	}
	c.lines.proven(first.line)
	c.mover.nudge()
	s.begin(first)
	return s, nil
}

// pair returns a token and the lines to try with it, in this order. The caller
// drops them.
func (c *Conn) pair(ctx context.Context) (token string, ways []*line, err error) {
	if token, err = obtain(ctx, c.token); err != nil {
		return "", nil, err
	}
	var late *time.Timer
	for {
		changed := c.lines.changed()
		ways, fits := c.lines.suited(token)
		if fits || changed == nil {
			return token, ways, nil
		}
		if late == nil {
			late = time.NewTimer(rotation)
			defer late.Stop()
		}
		select {
		case <-changed:
			c.lines.drop(ways...)
		case <-late.C: // the server refuses it, and says why
			return token, ways, nil
		case <-ctx.Done():
			c.lines.drop(ways...)
			return "", nil, outOfTime(c.server, ctx, nil)
		}
	}
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
