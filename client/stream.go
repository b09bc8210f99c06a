package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"

	chatpb "securechat/proto/chat"
)

// maxID is how long the idempotency key of a message may be, in bytes.
const maxID = 64

// Where the trace id stands in a traceparent.
const traceIDStart, traceIDEnd = 3, 35

// A Stream is one conversation with the server. One goroutine may send (Send,
// CloseSend) while another receives (Receive, Messages); Close, User and Expires
// may be called from any.
type Stream struct {
	// Set when the stream opens.
	server string
	grpc   grpc.BidiStreamingClient[chatpb.ChatMessage, chatpb.ChatMessage]
	ctx    context.Context // its cause says why this side ended the stream
	cancel context.CancelCauseFunc
	link   *link
	user   string
	keeper *keeper // of the Conn
	lease  *lease
	spans  *spans // nil: no tracing

	// Of the goroutine that sends.
	sending watch
	out     chatpb.ChatMessage
	clock   stampClock
	sentAll bool

	// Of the goroutine that receives.
	receiving watch
	in        chatpb.ChatMessage
	stamps    stampReader

	ended atomic.Pointer[error] // how Receive saw the stream end
}

// User is the name under which the server admitted the stream.
func (s *Stream) User() string { return s.user }

// Expires is when the server will end the stream, to the second; zero where it did
// not say. It moves when the Conn refreshes the token.
func (s *Stream) Expires() time.Time { return s.lease.until() }

// A SendOption adds to a message that is sent.
type SendOption func(*chatpb.ChatMessage)

// WithID gives the message an idempotency key of at most 64 bytes, which its
// acknowledgement echoes.
func WithID(id string) SendOption {
	return func(m *chatpb.ChatMessage) { m.Id = id }
}

// Send hands a message to the transport, and waits where the server reads more
// slowly than this side sends. That it returns nil does not say that the server
// has the message: the acknowledgement does, which Receive returns.
//
// A text that is not valid UTF-8, or too long an ID, is refused and leaves the
// stream as it was. So does a context that has ended before the call; one that
// ends while Send is blocked ends the stream. Once the server has ended the
// stream, the error is how it ended, or ErrEnded before Receive has got there.
func (s *Stream) Send(ctx context.Context, text string, options ...SendOption) error {
	s.out.Message, s.out.Id, s.out.Traceparent = text, "", ""
	for _, option := range options {
		option(&s.out)
	}
	if err := s.checkOutgoing(&s.out); err != nil {
		return err
	}
	if err := s.sending.begin(ctx); err != nil {
		return err
	}
	defer s.sending.end()
	if s.ctx.Err() != nil { // grpc-go may not have noticed yet
		return s.sendOutcome(context.Cause(s.ctx))
	}
	s.out.Timestamp = s.clock.now()
	if s.spans == nil {
		return s.sendOutcome(s.grpc.Send(&s.out))
	}
	var span trace.Span
	span, s.out.Traceparent = s.spans.sending(ctx)
	defer span.End()
	err := s.sendOutcome(s.grpc.Send(&s.out))
	if err != nil {
		span.SetStatus(codes.Error, "the stream has ended")
	}
	return err
}

func (s *Stream) checkOutgoing(m *chatpb.ChatMessage) error {
	switch {
	case s.sentAll:
		return errors.New("client: Send after CloseSend: open another stream")
	case !utf8.ValidString(m.Message):
		return errors.New("client: the text is not valid UTF-8: convert it first")
	case len(m.Id) > maxID || !utf8.ValidString(m.Id):
		return fmt.Errorf("client: the id has %d bytes: it may have %d, of valid UTF-8", len(m.Id), maxID)
	}
	return nil
}

func (s *Stream) sendOutcome(err error) error {
	if err == nil {
		return nil
	}
	if ended := s.ended.Load(); ended != nil && *ended != io.EOF {
		return *ended
	}
	if cause := context.Cause(s.ctx); cause != nil {
		return cause
	}
	if err == io.EOF { // grpc-go's word for a stream that the other side ended
		return ErrEnded
	}
	return fromStatus(s.server, err, s.link.last())
}

// Receive returns the next message, and io.EOF when the stream has ended in good
// order: this side has called CloseSend and all is acknowledged. Otherwise the
// error is an *Error, or ErrClosed, or the context's.
//
// A context that has ended before the call leaves the stream as it was; one that
// ends while Receive is blocked ends the stream.
func (s *Stream) Receive(ctx context.Context) (Message, error) {
	if err := s.receiving.begin(ctx); err != nil {
		return Message{}, err
	}
	err := s.ctx.Err()
	if err == nil {
		err = s.grpc.RecvMsg(&s.in)
	}
	s.receiving.end()
	if err != nil {
		return Message{}, s.end(err)
	}
	m := Message{
		User:     s.in.User,
		Text:     s.in.Message,
		Time:     s.stamps.read(s.in.Timestamp),
		ID:       s.in.Id,
		Sequence: s.in.Sequence,
		Kind:     s.in.Kind,
	}
	if s.in.Traceparent != "" {
		if parent, ok := chatpb.ParseTraceparent(s.in.Traceparent); ok {
			m.TraceID = s.in.Traceparent[traceIDStart:traceIDEnd]
			if s.spans != nil {
				s.spans.received(parent)
			}
		}
	}
	return m, nil
}

// end keeps how the stream ended and returns it, the same each time.
func (s *Stream) end(err error) error {
	if cause := context.Cause(s.ctx); cause != nil {
		err = cause
	} else if err != io.EOF {
		err = fromStatus(s.server, err, s.link.last())
	}
	s.ended.CompareAndSwap(nil, &err)
	s.release()
	return *s.ended.Load()
}

// Messages returns what Receive returns, until the stream ends. An error that is
// not the end in good order comes last. Breaking off leaves the stream open.
func (s *Stream) Messages(ctx context.Context) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		for {
			m, err := s.Receive(ctx)
			if err == io.EOF || !yield(m, err) || err != nil {
				return
			}
		}
	}
}

// CloseSend says that nothing more will be sent. The server acknowledges what it
// has and then ends the stream.
func (s *Stream) CloseSend() error {
	s.sentAll = true
	return s.grpc.CloseSend()
}

// Close ends the stream at once and releases what it holds; a Send or Receive
// that is blocked returns. What has not been acknowledged may or may not have
// reached the server. It is always safe to call, and always returns nil.
func (s *Stream) Close() error {
	s.cancel(ErrClosed)
	s.release()
	return nil
}

func (s *Stream) release() {
	s.keeper.remove(s.lease)
	s.sending.release(true)
	s.receiving.release(true)
}
