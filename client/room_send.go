package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	chatpb "securechat/proto/chat"
)

// ErrUnconfirmed is in the error of a message that was handed over and whose
// acknowledgement did not come: it may or may not have been stored. Sending it
// again with the same ID stores it once.
var ErrUnconfirmed = errors.New("client: it is not known whether the message was stored")

// A Receipt says that a message is stored for good.
type Receipt struct {
	// Sequence is its place in the room's log.
	Sequence uint64
	// Time is when the server accepted it.
	Time time.Time
	// ID is what WithID gave it, or what it was given for want of one.
	ID string
	// TraceID is the message's trace, in hexadecimal; empty where nobody traces it.
	TraceID string
}

// A Posted is a message that has its place in the order of this side's messages.
type Posted struct {
	// Set at construction.
	room        *Room
	id, text    string
	traceparent string
	span        trace.Span    // nil: no tracing
	done        chan struct{} // closed once it is settled

	// Guarded by the mu of room, and nobody's after done is closed.
	sent      bool // handed to a stream, of the moment or before
	resent    bool // and to one of the moment
	abandoned bool // nobody waits: it is not sent again
	settled   bool
	receipt   Receipt
	err       error
}

// Send says something in the room and returns once the server has stored it. What
// several goroutines send goes out in one order, without waiting for each other's
// acknowledgements; where 64 messages wait for theirs, Send waits.
//
// A message whose stream ends before its acknowledgement goes out again over the
// next one, in the same order and before newer ones, with the same ID, so that it
// is stored once. It has an ID of 128 random bits where WithID gives it none.
//
// A text that is not valid UTF-8, or too long an ID, is refused. Where the context
// ends or the room does before the acknowledgement, errors.Is finds ErrUnconfirmed
// in the error if the message has been handed over; it is not sent again then. It
// is not in the error of a message that was never handed over, which cannot have
// been stored. A message that the server does not accept, such as one that is too
// large, ends the room.
func (r *Room) Send(ctx context.Context, text string, options ...SendOption) (Receipt, error) {
	p, err := r.Post(ctx, text, options...)
	if err != nil {
		return Receipt{}, err
	}
	return p.Stored(ctx)
}

// Post is the first half of Send: it gives the message its place in the order and
// does not wait for its acknowledgement. The context bounds the wait for fewer
// than 64 messages that are not acknowledged, and no more than that.
func (r *Room) Post(ctx context.Context, text string, options ...SendOption) (*Posted, error) {
	var m chatpb.ChatMessage
	m.Message = text
	for _, option := range options {
		option(&m)
	}
	if err := checkMessage(&m); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	select {
	case r.slots <- struct{}{}:
	case <-r.over:
		return nil, r.ended
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	p := &Posted{room: r, id: m.Id, text: text, done: make(chan struct{})}
	if p.id == "" {
		p.id = rand.Text()
	}
	if err := r.enqueue(ctx, p); err != nil {
		return nil, err
	}
	return p, nil
}

// enqueue needs a slot.
func (r *Room) enqueue(ctx context.Context, p *Posted) error {
	r.mu.Lock()
	spans := r.spans
	r.mu.Unlock()
	if spans != nil {
		p.span, p.traceparent = spans.sending(ctx)
	}
	r.mu.Lock()
	ended := r.ended
	if ended == nil {
		r.pending = append(r.pending, p)
	}
	r.mu.Unlock()
	if ended != nil {
		r.free(1)
		r.settle(p, Receipt{}, ended)
		return ended
	}
	signal(r.wake)
	signal(r.posted)
	return nil
}

// ID is the message's idempotency key.
func (p *Posted) ID() string { return p.id }

// Stored is the second half of Send: it waits for the acknowledgement. It may be
// called again. Once the context of one call has ended, the message is not sent
// again.
func (p *Posted) Stored(ctx context.Context) (Receipt, error) {
	select {
	case <-p.done:
	default:
		select {
		case <-p.done:
		case <-ctx.Done():
			p.room.abandon(p, context.Cause(ctx))
		}
	}
	<-p.done
	return p.receipt, p.err
}

// abandon settles what nobody waits for any more. What the stream of the moment has
// not been given never will be handed over, or again.
func (r *Room) abandon(p *Posted, cause error) {
	r.mu.Lock()
	p.abandoned = true
	dropped := 0
	if i := slices.Index(r.pending, p); i >= r.sent {
		r.pending = slices.Delete(r.pending, i, i+1)
		dropped = 1
	}
	lost := p.lost(cause)
	r.mu.Unlock()
	r.free(dropped)
	r.settle(p, Receipt{}, lost)
}

// lost is the error of a message that goes without acknowledgement, because of
// cause.
func (p *Posted) lost(cause error) error {
	if p.sent {
		return fmt.Errorf("%w: %w", ErrUnconfirmed, cause)
	}
	return cause
}

// settle gives the message its outcome, unless it has one.
func (r *Room) settle(p *Posted, receipt Receipt, err error) {
	r.mu.Lock()
	first := !p.settled
	if first {
		p.settled, p.receipt, p.err = true, receipt, err
	}
	r.mu.Unlock()
	if !first {
		return
	}
	if p.span != nil {
		if err != nil {
			p.span.SetStatus(codes.Error, "not acknowledged")
		}
		p.span.End()
	}
	close(p.done)
}

// acknowledge takes the message with that ID out of those that wait, and returns
// it; nil where there is none. It needs mu, and its caller frees the slot.
func (r *Room) acknowledge(id string) *Posted {
	i := slices.IndexFunc(r.pending, func(p *Posted) bool { return p.id == id })
	if i < 0 || !r.pending[i].sent {
		return nil
	}
	p := r.pending[i]
	r.pending = slices.Delete(r.pending, i, i+1)
	if i < r.sent {
		r.sent--
	}
	return p
}

// dropAbandoned forgets what nobody waits for, before another stream is given the
// rest, and returns how much that is. It needs mu.
func (r *Room) dropAbandoned() int {
	before := len(r.pending)
	r.pending = slices.DeleteFunc(r.pending, func(p *Posted) bool { return p.abandoned })
	return before - len(r.pending)
}

// free gives slots back.
func (r *Room) free(slots int) {
	for range slots {
		<-r.slots
	}
}

// Typing tells the others that the user is typing. It is not stored, and is
// forgotten where there is no stream just now.
func (r *Room) Typing() {
	r.mu.Lock()
	r.typing = true
	r.mu.Unlock()
	signal(r.wake)
}

// transmit hands the stream what there is to send, until it ends. Where that is
// not this side's doing, Receive has the reason.
func (r *Room) transmit(stream *Stream) {
	call := stream.sender.Load().call
	var clock stampClock
	for {
		m, ok := r.outgoing(stream.ctx)
		if !ok {
			return
		}
		m.Timestamp = clock.now()
		if call.Send(m) != nil {
			return
		}
	}
}

// outgoing waits for the next message to send, and returns false once ctx has
// ended.
func (r *Room) outgoing(ctx context.Context) (*chatpb.ChatMessage, bool) {
	for ctx.Err() == nil {
		if m := r.due(); m != nil {
			return m, true
		}
		select {
		case <-r.wake:
		case <-ctx.Done():
		}
	}
	return nil, false
}

// due returns what may go out now; nil where nothing may. A message that goes out
// again waits until the stream is live: the server may have stored it, and what
// was missed would bring it. Then its acknowledgement cannot be mistaken for one
// at a place that the stream has not reached.
func (r *Room) due() *chatpb.ChatMessage {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.typing {
		r.typing = false
		return &chatpb.ChatMessage{Kind: chatpb.Kind_TYPING}
	}
	if r.sent == len(r.pending) {
		return nil
	}
	p := r.pending[r.sent]
	if p.sent && !r.live {
		return nil
	}
	r.sent++
	p.sent, p.resent = true, p.sent
	return &chatpb.ChatMessage{Message: p.text, Id: p.id, Traceparent: p.traceparent}
}
