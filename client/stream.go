package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/otel/codes"
	"google.golang.org/grpc/metadata"

	chatpb "securechat/proto/chat"
)

// maxID is how long the idempotency key of a message may be, in bytes.
const maxID = 64

// A Stream is one conversation with the server. One goroutine may send (Send,
// CloseSend) while another receives (Receive, Messages); Close, User and Expires
// may be called from any.
type Stream struct {
	// Set when the stream opens.
	conn *Conn
	md   metadata.MD
	ctx  context.Context // its cause says why this side ended the stream
	end  context.CancelCauseFunc
	user string

	// Of the goroutine that sends.
	sending watch
	out     chatpb.ChatMessage
	clock   stampClock
	sentAll atomic.Bool // others read it

	// Of whoever has the turn: the goroutine that sends, and between two messages
	// the mover. Others may read them.
	turn      sync.Mutex
	sender    atomic.Pointer[leg]
	successor atomic.Pointer[leg] // takes over from sender; nil: none

	// Of the goroutine that receives.
	receiving watch
	receiver  *leg
	in        chatpb.ChatMessage
	stamps    stampReader

	spool      spool       // from legs before sender
	readingOut atomic.Bool // one of them is being read into the spool

	ended atomic.Pointer[error] // how Receive saw the stream end

	mu       sync.Mutex
	legs     []*leg // those that are not let go: at most one that is read out, the sender and a successor or two
	released bool   // there is none any more
}

// newStream makes a stream with the values of the context. It is of use after
// begin.
func newStream(ctx context.Context, c *Conn, md metadata.MD) *Stream {
	s := &Stream{conn: c, md: md, spool: newSpool()}
	s.ctx, s.end = context.WithCancelCause(context.WithoutCancel(ctx))
	s.sending.cancel, s.receiving.cancel = s.end, s.end
	return s
}

func (s *Stream) begin(first *leg) {
	s.user = first.user
	s.receiver = first
	s.sender.Store(first)
	s.adopt(first)
}

// User is the name under which the server admitted the stream.
func (s *Stream) User() string { return s.user }

// Expires is when the server will end the stream, to the second; zero where it did
// not say. It moves when the Conn refreshes the token, and with the certificate.
func (s *Stream) Expires() time.Time { return s.sender.Load().lease.until() }

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
	s.out.User, s.out.Message, s.out.Id, s.out.Traceparent = "", text, "", ""
	s.out.Sequence, s.out.Kind = 0, KindMessage // options are free to set them
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
	if s.ctx.Err() != nil || s.ended.Load() != nil { // grpc-go may not have noticed yet
		return s.sendOutcome(nil, io.EOF)
	}
	s.out.Timestamp = s.clock.now()
	return s.transmit(ctx)
}

// transmit sends s.out over the leg of the moment, and then lets one take over
// that has come meanwhile.
func (s *Stream) transmit(ctx context.Context) error {
	s.turn.Lock()
	over := s.sender.Load()
	if over.spans == nil {
		err := over.call.Send(&s.out)
		s.turn.Unlock()
		s.yield()
		return s.sendOutcome(over, err)
	}
	span, traceparent := over.spans.sending(ctx)
	defer span.End()
	s.out.Traceparent = traceparent
	err := over.call.Send(&s.out)
	s.turn.Unlock()
	s.yield()
	if err = s.sendOutcome(over, err); err != nil {
		span.SetStatus(codes.Error, "the stream has ended")
	}
	return err
}

func (s *Stream) checkOutgoing(m *chatpb.ChatMessage) error {
	if s.sentAll.Load() {
		return errors.New("client: Send after CloseSend: open another stream")
	}
	return checkMessage(m)
}

func checkMessage(m *chatpb.ChatMessage) error {
	switch {
	case !utf8.ValidString(m.Message):
		return errors.New("client: the text is not valid UTF-8: convert it first")
	case len(m.Id) > maxID || !utf8.ValidString(m.Id):
		return fmt.Errorf("client: the id has %d bytes: it may have %d, of valid UTF-8", len(m.Id), maxID)
	}
	return nil
}

func (s *Stream) sendOutcome(over *leg, err error) error {
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
	return fromStatus(s.conn.server, err, over.line.link.last())
}

// Receive returns the next message, and io.EOF when the stream has ended in good
// order: this side has called CloseSend and all is acknowledged. Otherwise the
// error is an *Error, or ErrClosed, or the context's.
//
// A program that only sends must receive as well: where too many acknowledgements
// wait the server waits too, and so does Send, and a stream for which more than a
// MiB of them has been fetched moves to no new certificate.
//
// A context that has ended before the call leaves the stream as it was; one that
// ends while Receive is blocked ends the stream.
func (s *Stream) Receive(ctx context.Context) (Message, error) {
	if err := s.receiving.begin(ctx); err != nil {
		return Message{}, err
	}
	in, err := s.read()
	s.receiving.end()
	if err != nil {
		return Message{}, s.outcome(err)
	}
	m := Message{
		User:     in.User,
		Text:     in.Message,
		Time:     s.stamps.read(in.Timestamp),
		ID:       in.Id,
		Sequence: in.Sequence,
		Kind:     in.Kind,
	}
	if in.Traceparent != "" {
		if parent, ok := chatpb.ParseTraceparent(in.Traceparent); ok {
			m.TraceID = traceOf(in.Traceparent)
			if spans := s.receiver.spans; spans != nil {
				spans.received(parent)
			}
		}
	}
	return m, nil
}

// read returns the next message, which lasts until the next call, leg after leg.
func (s *Stream) read() (*chatpb.ChatMessage, error) {
	for {
		if err := s.ctx.Err(); err != nil {
			return nil, err
		}
		if m, err := s.receiver.receive(&s.in, &s.spool); err != io.EOF || !s.advance() {
			return m, err
		}
	}
}

// outcome keeps how the stream ended and returns it, the same each time.
func (s *Stream) outcome(err error) error {
	if cause := context.Cause(s.ctx); cause != nil {
		err = cause
	} else if err != io.EOF {
		err = fromStatus(s.conn.server, err, s.receiver.line.link.last())
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
// has and then ends the stream. Receive what is left without a pause: a server may
// close the connection of a client that takes nothing of it for some seconds.
func (s *Stream) CloseSend() error {
	s.turn.Lock()
	s.sentAll.Store(true)
	err := s.sender.Load().call.CloseSend()
	s.turn.Unlock()
	s.yield()
	return err
}

// Close ends the stream at once and releases what it holds; a Send or Receive
// that is blocked returns. What has not been acknowledged may or may not have
// reached the server. It is always safe to call, and always returns nil.
func (s *Stream) Close() error {
	s.end(ErrClosed)
	s.release()
	return nil
}

func (s *Stream) release() {
	s.conn.mover.remove(s)
	s.leaveAll()
	s.sending.release(true)
	s.receiving.release(true)
}
