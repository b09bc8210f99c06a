package server

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strconv"
	"sync/atomic"

	"google.golang.org/grpc"

	"securechat/auth"
	chatpb "securechat/proto/chat"
	"securechat/server/room"
)

// A conversation is one stream in one room. Two goroutines work on it: the handler's
// own receives and one, for which it waits, delivers. The hub cuts a member that does
// not keep up, while both may be stuck in the transport.
//
// A stream ends from the receiving side by the handler's return, and from the
// others by auth.Cut, which lets the client know before the handler returns.
type conversation struct {
	// Set at the beginning.
	ctx    context.Context
	stream grpc.ServerStream
	member *room.Member
	rooms  *rooms
	pace   *pace
	spans  messageSpans
	server *Server

	// Of the receiving goroutine.
	received uint64

	// Of the delivering goroutine.
	frame encoded
	live  bool // the replay is over

	// Shared.
	last atomic.Uint64 // the highest sequence handed to the transport
	owed owed
}

// converse runs the handler of a stream in a room.
func (s *Server) converse(stream grpc.ServerStream, member *room.Member) error {
	ctx := stream.Context()
	id, _ := auth.FromContext(ctx)
	pace := s.rooms.pacer.join(accountOf(id))
	defer s.rooms.pacer.leave(pace)
	c := &conversation{
		ctx: ctx, stream: stream, member: member, rooms: s.rooms, pace: pace, spans: s.messageSpans(ctx), server: s,
		owed: owed{empty: make(chan struct{})},
	}
	defer c.owed.forget()
	if id.HasScope(scopeWrite) {
		member.Prepare()
	}
	return c.run()
}

func (c *conversation) run() error {
	delivering, stop := context.WithCancel(c.ctx)
	defer stop()
	c.member.OnCut(func() { auth.Cut(c.ctx, c.refusal(room.ErrSlow)) })
	delivered := make(chan struct{})
	go func() {
		defer close(delivered)
		_ = c.guarded(func() error { c.deliver(delivering); return nil }) // the stream has been cut for it
	}()
	err := c.guarded(c.listen)
	// However it ends, what was accepted before is acknowledged first, unless the
	// client has gone or the stream has been cut: then nothing more is delivered.
	select {
	case <-c.owed.settle():
	case <-delivered:
	}
	stop()
	var refusal *auth.Refusal
	if errors.As(err, &refusal) {
		auth.Cut(c.ctx, refusal) // what is still being sent must not hold it up
	}
	<-delivered
	return err
}

// guarded runs one half of the conversation. A panic in it ends the stream at once as
// INTERNAL, and so the other half: there may be debts that nobody will pay.
func (c *conversation) guarded(half func() error) (err error) {
	defer func() {
		if value := recover(); value != nil {
			refusal := panicRefusal(value)
			if !auth.Cut(c.ctx, refusal) { // what it ends with says nothing of it
				c.server.config.Log.Error("a stream panicked after it had been cut", slog.Any("error", refusal))
			}
			err = refusal
		}
	}()
	return half()
}

// refusal is what the client is told of the end of its membership.
func (c *conversation) refusal(err error) *auth.Refusal {
	if errors.Is(err, room.ErrSlow) {
		return auth.Refuse(auth.SlowConsumer, err).With("after", strconv.FormatUint(c.last.Load(), 10))
	}
	var refusal *auth.Refusal
	if errors.As(roomRefusal(err), &refusal) {
		return refusal
	}
	return auth.Refuse(auth.Internal, err)
}

// listen receives until the client half-closes, and returns nil then.
func (c *conversation) listen() error {
	var message chatpb.ChatMessage
	for {
		if err := c.stream.RecvMsg(&message); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if err := c.pace.wait(c.ctx); err != nil {
			return err
		}
		if err := c.take(&message); err != nil {
			return err
		}
	}
}

// take hands a received message to the room.
func (c *conversation) take(message *chatpb.ChatMessage) error {
	if id, _ := auth.FromContext(c.ctx); !id.HasScope(scopeWrite) {
		return auth.Refusef(auth.ScopeMissing, "the token has no scope %s", scopeWrite)
	}
	switch {
	case message.Kind == chatpb.Kind_TYPING:
		c.member.Typing()
		return nil
	case message.Kind != chatpb.Kind_MESSAGE:
		return auth.Refusef(auth.MessageInvalid, "a client may not send the kind %d", message.Kind)
	case len(message.Id) > maxID:
		return auth.Refusef(auth.MessageInvalid, "a message's id has %d bytes and may have %d", len(message.Id), maxID)
	}
	debt := debt{release: auth.Hold(c.ctx)}
	debt.messageSpan = c.spans.begin(message.Traceparent)
	if c.received%measured == 0 {
		debt.received = c.server.config.Now()
	}
	c.received++
	c.server.metrics.received.Add(1)
	c.owed.add(debt)
	if err := c.member.Post(c.ctx, room.Posting{ID: message.Id, Text: message.Message, Trace: debt.context}); err != nil {
		c.owed.struck() // there will be no acknowledgement
		if c.ctx.Err() != nil {
			return c.ctx.Err()
		}
		return c.refusal(err)
	}
	return nil
}
