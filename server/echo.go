package server

import (
	"errors"
	"io"
	"time"

	"securechat/auth"
	chatpb "securechat/proto/chat"
)

// maxID is how long a message's idempotency key may be, in bytes.
const maxID = 64

// chat is the service: the echo for streams that name no room, and rooms.
type chat struct {
	chatpb.UnimplementedChatServer
	server *Server
}

func (c chat) ChatStream(stream chatpb.Chat_ChatStreamServer) error {
	if member, inRoom := memberFrom(stream.Context()); inRoom {
		return c.server.converse(stream, member)
	}
	return c.echo(stream)
}

// echo acknowledges each message in order. One message and one
// acknowledgement serve the whole stream: SendMsg has encoded before it returns.
func (c chat) echo(stream chatpb.Chat_ChatStreamServer) error {
	var message chatpb.ChatMessage
	ack := chatpb.ChatMessage{User: chatpb.ServerUser, Kind: chatpb.Kind_ACKNOWLEDGEMENT}
	clock := timestamps{now: c.server.config.Now}
	for {
		if err := stream.RecvMsg(&message); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if len(message.Id) > maxID {
			return auth.Refusef(auth.MessageInvalid, "a message's id has %d bytes and may have %d", len(message.Id), maxID)
		}
		ack.Message = chatpb.Acknowledged + message.Message
		ack.Timestamp = clock.timestamp()
		ack.Id = message.Id
		if err := stream.SendMsg(&ack); err != nil {
			return err
		}
	}
}

// timestamps formats the time once a millisecond, which is as fine as a
// timestamp is. For one goroutine.
type timestamps struct {
	now  func() time.Time
	at   int64 // the millisecond that text shows
	text string
}

func (t *timestamps) timestamp() string {
	now := t.now()
	if at := now.UnixMilli(); at != t.at {
		t.at, t.text = at, chatpb.FormatTimestamp(now)
	}
	return t.text
}
