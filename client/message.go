package client

import (
	"time"

	chatpb "securechat/proto/chat"
)

// A Kind says what a Message is.
type Kind = chatpb.Kind

// The kinds.
const (
	KindMessage         = chatpb.Kind_MESSAGE         // something a user said
	KindAcknowledgement = chatpb.Kind_ACKNOWLEDGEMENT // the server has accepted a message of this stream
	KindJoined          = chatpb.Kind_JOINED          // a user entered the room
	KindLeft            = chatpb.Kind_LEFT            // a user's last session left the room
	KindLive            = chatpb.Kind_LIVE            // replay is over; what follows is live
	KindTyping          = chatpb.Kind_TYPING          // a user is typing
)

// A Message is what a stream receives.
type Message struct {
	// User is the author, as the server verified it.
	User string
	// Text may be empty, and has whatever its author wrote: a program that shows
	// it on a terminal must not let control characters through.
	Text string
	// Time is the server's, in UTC to the millisecond; zero where it sent none.
	Time time.Time
	// ID is what WithID gave the message, or the message that this one
	// acknowledges; empty where the server does not pass it on.
	ID string
	// Sequence is the position in the room's log; 0 in echo.
	Sequence uint64
	Kind     Kind
	// TraceID is the trace of this one message, in hexadecimal; empty where
	// nobody traces it.
	TraceID string
	// Own says, in a room, that this side's user is the author, through whichever
	// stream.
	Own bool
}

// Timestamp is Time as the wire has it: RFC 3339 with milliseconds; empty where
// there is none.
func (m Message) Timestamp() string {
	if m.Time.IsZero() {
		return ""
	}
	return chatpb.FormatTimestamp(m.Time)
}

// A stampClock writes timestamps, each millisecond once. For one goroutine.
type stampClock struct {
	at   int64 // the millisecond that text shows
	text string
}

func (c *stampClock) now() string {
	now := time.Now()
	if at := now.UnixMilli(); at != c.at {
		c.at, c.text = at, chatpb.FormatTimestamp(now)
	}
	return c.text
}

// A stampReader reads timestamps, equal ones in a row once. For one goroutine.
type stampReader struct {
	text string
	time time.Time
}

func (r *stampReader) read(text string) time.Time {
	if text != r.text {
		r.text = text
		r.time, _ = time.Parse(time.RFC3339, text) // zero where it is none
		r.time = r.time.UTC()
	}
	return r.time
}
