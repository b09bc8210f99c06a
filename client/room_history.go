package client

import (
	"context"
	"errors"
	"iter"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	chatpb "securechat/proto/chat"
)

// What one call of History or Rooms asks for and may bring.
const (
	messagesPage = 200
	roomsPage    = 500
	maxPage      = 8 << 20 // bytes
)

// A RoomInfo is a room that the user may join.
type RoomInfo struct {
	// Name is what Join takes; "@" and the other user's name for a room of two.
	Name string
	// Sequence is that of its newest message that is kept; 0 if there is none.
	Sequence uint64
}

// A Member is a user in a room.
type Member struct {
	User string
	// Since is when the user came, without a break since then.
	Since time.Time
}

// reading is what History is to read.
type reading struct {
	after, before *uint64 // one of them, or none for the newest
	limit         int     // 0: none
}

// past is where the reading goes on from after a message.
func (read reading) past(sequence uint64) reading {
	if read.after != nil {
		read.after = &sequence
	} else {
		read.before = &sequence
	}
	return read
}

// checkPage refuses what would have the reading go in circles, tell something twice,
// or end before its end.
func (read reading) checkPage(server string, page []Message, more bool) error {
	for _, m := range page {
		switch {
		case read.after != nil && m.Sequence <= *read.after:
			return outOfOrder(server)
		case read.before != nil && *read.before > 0 && m.Sequence >= *read.before: // 0 is the end of the room
			return outOfOrder(server)
		}
		read = read.past(m.Sequence)
	}
	if more && len(page) == 0 {
		return outOfOrder(server)
	}
	return nil
}

func outOfOrder(server string) error {
	return &Error{Server: server, Code: codes.Internal, Text: "the server's answer does not go on from the one before: ask its operator"}
}

// History returns messages that a room's log keeps, page after page as they are
// asked for: with a [From] the oldest first, and otherwise, or with [Before], the
// newest first. It ends with the last one that is kept, or after as many as
// [Limit] says. An error comes last: an *Error, or that of the token source.
//
// It asks of the user what joining the room does.
func (c *Conn) History(ctx context.Context, room string, options ...HistoryOption) iter.Seq2[Message, error] {
	var from reading
	for _, option := range options {
		option.history(&from)
	}
	return func(yield func(Message, error) bool) {
		read, left := from, from.limit
		for {
			page, more, err := c.historyPage(ctx, room, read, left)
			if err != nil {
				yield(Message{}, err)
				return
			}
			if read.limit > 0 && len(page) > left {
				page, more = page[:left], false
			}
			for _, m := range page {
				if !yield(m, nil) {
					return
				}
			}
			if left -= len(page); !more || read.limit > 0 && left <= 0 {
				return
			}
			read = read.past(page[len(page)-1].Sequence)
		}
	}
}

// historyPage returns the next messages in the order of the reading.
func (c *Conn) historyPage(ctx context.Context, room string, read reading, left int) (page []Message, more bool, err error) {
	if room == "" {
		return nil, false, errNoRoom
	}
	request := &chatpb.HistoryRequest{Room: chatpb.EscapeUser(room), After: read.after, Before: read.before, Limit: messagesPage}
	if read.limit > 0 {
		request.Limit = uint32(min(left, messagesPage))
	}
	var answer *chatpb.HistoryResponse
	err = c.ask(ctx, func(ctx context.Context, chat chatpb.ChatClient, options ...grpc.CallOption) (err error) {
		answer, err = chat.History(ctx, request, options...)
		return err
	})
	if err != nil {
		return nil, false, err
	}
	var stamps stampReader
	page = make([]Message, 0, len(answer.Messages))
	for _, m := range answer.Messages {
		page = append(page, messageOf(m, &stamps))
	}
	if read.after == nil {
		slices.Reverse(page)
	}
	return page, answer.More, read.checkPage(c.server, page, answer.More)
}

// messageOf is a message as the wire has it.
func messageOf(m *chatpb.ChatMessage, stamps *stampReader) Message {
	out := Message{
		User: m.User, Text: m.Message, Time: stamps.read(m.Timestamp), ID: m.Id, Sequence: m.Sequence, Kind: m.Kind,
	}
	if _, ok := chatpb.ParseTraceparent(m.Traceparent); ok {
		out.TraceID = traceOf(m.Traceparent)
	}
	return out
}

// Rooms returns the rooms that have messages or members and that the user may
// join, by name, page after page as they are asked for. An error comes last.
func (c *Conn) Rooms(ctx context.Context) iter.Seq2[RoomInfo, error] {
	return func(yield func(RoomInfo, error) bool) {
		request := &chatpb.RoomsRequest{Limit: roomsPage}
		for {
			var page *chatpb.RoomsResponse
			err := c.ask(ctx, func(ctx context.Context, chat chatpb.ChatClient, options ...grpc.CallOption) (err error) {
				page, err = chat.Rooms(ctx, request, options...)
				return err
			})
			if err != nil {
				yield(RoomInfo{}, err)
				return
			}
			for _, room := range page.Rooms {
				if room.Name <= request.After {
					yield(RoomInfo{}, outOfOrder(c.server))
					return
				}
				name, err := chatpb.UnescapeUser(room.Name)
				if err != nil {
					name = room.Name
				}
				if !yield(RoomInfo{Name: name, Sequence: room.Sequence}, nil) {
					return
				}
				request.After = room.Name
			}
			if !page.More {
				return
			}
			if len(page.Rooms) == 0 {
				yield(RoomInfo{}, outOfOrder(c.server))
				return
			}
		}
	}
}

// Members returns who is in a room now, by name, each once. It asks of the user
// what joining the room does.
func (c *Conn) Members(ctx context.Context, room string) ([]Member, error) {
	if room == "" {
		return nil, errNoRoom
	}
	var answer *chatpb.MembersResponse
	err := c.ask(ctx, func(ctx context.Context, chat chatpb.ChatClient, options ...grpc.CallOption) (err error) {
		answer, err = chat.Members(ctx, &chatpb.MembersRequest{Room: chatpb.EscapeUser(room)}, options...)
		return err
	})
	if err != nil {
		return nil, err
	}
	var stamps stampReader
	members := make([]Member, 0, len(answer.Members))
	for _, m := range answer.Members {
		members = append(members, Member{User: m.User, Since: stamps.read(m.Since)})
	}
	return members, nil
}

// ask makes a unary call with a token, over the lines that suit it.
func (c *Conn) ask(ctx context.Context, call func(context.Context, chatpb.ChatClient, ...grpc.CallOption) error) error {
	token, ways, err := c.pair(ctx)
	if err != nil {
		return err
	}
	defer c.lines.drop(ways...)
	// Metadata in the context does not count, as for streams.
	out := metadata.NewOutgoingContext(ctx, metadata.MD{})
	for _, via := range ways {
		err = call(out, via.chat, grpc.PerRPCCredentials(bearer(token)), grpc.MaxCallRecvMsgSize(maxPage))
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return unanswered(c.server, ctx, err)
		}
		err = fromStatus(c.server, err, via.link.last())
	}
	return err
}

// unanswered is the Error of a call whose context ended.
func unanswered(server string, ctx context.Context, cause error) error {
	e := &Error{Server: server, Code: codes.Canceled, Text: "the call was cancelled", cause: errors.Join(context.Cause(ctx), cause)}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		e.Code, e.Text = codes.DeadlineExceeded, "the server did not answer in time"
	}
	return e
}
