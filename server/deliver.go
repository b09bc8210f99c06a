package server

import (
	"context"
	"fmt"

	"google.golang.org/grpc"

	"securechat/auth"
	chatpb "securechat/proto/chat"
	"securechat/server/room"
)

// How many events a member takes from its room at a time: few while it is idle,
// since every member has memory for so many, and more while there is more to take,
// since a replay reads as many from the log at a time, if they are small. Memory for
// more is lent.
const (
	eventsIdle = 8
	eventsBusy = 128
)

// errStuck ends a stream that takes nothing of its replay: the hub cuts only those
// that have been live.
var errStuck = fmt.Errorf("nothing of the replay is taken: %w", room.ErrSlow)

// deliver hands the member's events to the transport until ctx ends, whether or not
// there are more of them, or the stream does. A replay may take as long as it likes,
// but its client must take some of it in the time that a live member may lag.
func (c *conversation) deliver(ctx context.Context) {
	few := make([]room.Event, eventsIdle)
	events := few
	stall := newStall(c.ctx, c.rooms.lag, func() { auth.Cut(c.ctx, c.refusal(errStuck)) })
	defer stall.stop()
	for ctx.Err() == nil {
		n, err := c.member.Next(ctx, events)
		if err != nil {
			if ctx.Err() == nil {
				auth.Cut(c.ctx, c.refusal(err))
			}
			return
		}
		for i := range events[:n] {
			replayed := !c.live
			if replayed {
				stall.sends()
			}
			if err := c.send(&events[i]); err != nil {
				return // the stream has ended: its context says so to the others
			}
			if replayed {
				stall.sent()
			}
			if replayed && c.live {
				stall.stop() // who lags from here on is for the hub to say
			}
		}
		clear(events[:n]) // an idle member keeps no texts
		busy := len(events) > eventsIdle
		switch {
		case !busy && n == len(events):
			events = *c.rooms.lend()
		case busy && n <= eventsIdle:
			back := events
			c.rooms.lent.Put(&back)
			events = few
		}
	}
}

// lend returns memory for many events, which goes back to lent.
func (r *rooms) lend() *[]room.Event {
	if events, ok := r.lent.Get().(*[]room.Event); ok {
		return events
	}
	events := make([]room.Event, eventsBusy)
	return &events
}

func (c *conversation) send(event *room.Event) error {
	switch event.Kind {
	case chatpb.Kind_MESSAGE:
		if err := c.handOn(event); err != nil {
			return err
		}
		c.reached(event.Entry.Sequence)
		return nil
	case chatpb.Kind_ACKNOWLEDGEMENT:
		return c.acknowledge(&event.Entry)
	case chatpb.Kind_LIVE:
		if err := c.stream.SendMsg(&chatpb.ChatMessage{
			User: chatpb.ServerUser, Timestamp: chatpb.FormatTimestamp(c.server.config.Now()), Sequence: event.Sequence, Kind: chatpb.Kind_LIVE,
		}); err != nil {
			return err
		}
		c.reached(event.Sequence)
		c.live = true
		return nil
	default: // who comes, goes and types
		return c.stream.SendMsg(&chatpb.ChatMessage{
			User: event.User, Timestamp: chatpb.FormatTimestamp(event.Time), Kind: event.Kind,
		})
	}
}

// handOn sends a message that is encoded already. What is live is prepared for the
// transport once, for all members: the streams of one server have the same codec
// and no compression.
func (c *conversation) handOn(event *room.Event) error {
	c.frame.wire = event.Wire
	if event.Shared == nil {
		return c.stream.SendMsg(&c.frame)
	}
	prepared, ok := event.Shared.Get(func() any {
		message := new(grpc.PreparedMsg)
		if err := message.Encode(c.stream, &c.frame); err != nil {
			return nil // each sends it as it is
		}
		return message
	}).(*grpc.PreparedMsg)
	if !ok {
		return c.stream.SendMsg(&c.frame)
	}
	return c.stream.SendMsg(prepared)
}

// acknowledge answers the oldest message that is owed an answer: the hub gives
// acknowledgements in the order of the posts.
func (c *conversation) acknowledge(entry *room.Entry) error {
	debt := c.owed.first()
	err := c.stream.SendMsg(&chatpb.ChatMessage{
		User:        chatpb.ServerUser,
		Message:     chatpb.Acknowledged + entry.Text,
		Timestamp:   chatpb.FormatTimestamp(entry.Time),
		Id:          entry.ID,
		Sequence:    entry.Sequence,
		Kind:        chatpb.Kind_ACKNOWLEDGEMENT,
		Traceparent: debt.traceparent,
	})
	if err != nil {
		return err
	}
	c.server.metrics.acknowledged.Add(1)
	if !debt.received.IsZero() {
		c.server.metrics.latency.Record(c.ctx, c.server.config.Now().Sub(debt.received).Seconds())
	}
	c.reached(entry.Sequence)
	c.owed.paid()
	return nil
}

// reached notes what the client has been given. A message that was said before and
// is acknowledged again has a sequence of long ago.
func (c *conversation) reached(sequence uint64) {
	if sequence > c.last.Load() {
		c.last.Store(sequence) // of this goroutine alone
	}
}
