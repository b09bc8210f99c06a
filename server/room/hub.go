package room

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/trace"

	chatpb "securechat/proto/chat"
)

// Config is what a Hub is made of.
type Config struct {
	// Log keeps the messages. The hub does not close it.
	Log Log
	// Cluster is how nodes that share the log find each other. Nil: this hub is the
	// log's only writer.
	Cluster Cluster
	// Queue and QueueBytes bound how far a live member may be behind its room, in
	// events and in bytes; 0 means 1,024 and 1 MiB. A room holds that much once,
	// whatever the number of its members.
	Queue, QueueBytes int
	// Tracer makes a "store" and a "deliver" span a message; nil makes none.
	Tracer trace.Tracer
	// Logger is told what an operator should know; nil: nobody is.
	Logger *slog.Logger
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

var (
	// ErrSlow ends a member that is too far behind its room. It loses nothing by
	// joining again after the last sequence that it has.
	ErrSlow = errors.New("room: the member is too far behind")
	// ErrClosed is returned once the hub is closed or the member has left.
	ErrClosed = errors.New("room: closed")
)

// GoneError refuses to replay from a sequence after which the log has discarded
// messages.
type GoneError struct {
	// Oldest is the earliest sequence from which the room can be replayed whole.
	Oldest uint64
}

func (e *GoneError) Error() string {
	return "room: messages after that sequence are no longer kept"
}

// An Event is something that a member is told.
type Event struct {
	// Kind says what it is and which of the fields below have a meaning.
	Kind chatpb.Kind
	// Entry is the message of a MESSAGE, and the member's own of an
	// ACKNOWLEDGEMENT. Acknowledgements come in the order of the member's posts.
	Entry Entry
	// Wire is the encoded ChatMessage of a MESSAGE. It is shared: do not change it.
	Wire []byte
	// User and Time are who and when of JOINED, LEFT and TYPING.
	User string
	Time time.Time
	// Sequence is, of LIVE, where a reader that has had all up to here comes back to.
	Sequence uint64
}

// A Posting is what a member says.
type Posting struct {
	ID, Text string
	// Trace is the context of the span that posts it.
	Trace trace.SpanContext
}

// Position is where a member begins.
type Position struct {
	// Replay asks for the messages after After first; 0 is the beginning of what
	// is kept. Without it the member begins live.
	Replay bool
	After  uint64
}

// hubSketch lists the operations until they stand in files of their own.
type hubSketch interface {
	// Join makes the user a member of the room from a position on: its events
	// are the replay, LIVE, and what happens from then on, without a gap and
	// without a repetition. Errors: *GoneError, ErrUnavailable, ErrClosed, the context's.
	Join(ctx context.Context, key Key, user string, from Position) (*memberSketch, error)
	// History returns at most limit of the room's entries, oldest first: those
	// after a sequence, or those before one; and whether there are more.
	HistoryAfter(ctx context.Context, key Key, after uint64, limit int) (entries []Entry, more bool, err error)
	HistoryBefore(ctx context.Context, key Key, before uint64, limit int) (entries []Entry, more bool, err error)
	// Members returns who is in the room on any node, by name.
	Members(ctx context.Context, key Key) ([]Presence, error)
	// Rooms yields the rooms that have entries or members (newest 0), in no order, each once.
	Rooms(ctx context.Context, yield func(key Key, newest uint64) bool) error
	// Close ends every member and waits for what is under way.
	Close(ctx context.Context) error
}

// Presence is a user in a room.
type Presence struct {
	User  string
	Since time.Time
}

type memberSketch interface {
	// Next waits for events and fills at least one and at most len(events) of
	// them. For one goroutine. Errors: ErrSlow, ErrUnavailable (a post could not be
	// stored: nothing posted after it is either), ErrClosed, the context's.
	Next(ctx context.Context, events []Event) (int, error)
	// Post hands a message over to be stored, and waits while too much of what the
	// member has posted is not acknowledged. The acknowledgement is an event. For one
	// goroutine, another than that of Next.
	Post(ctx context.Context, p Posting) error
	// Typing tells the others, and is forgotten.
	Typing()
	// Cut is closed when the member has been cut for being slow, while its
	// goroutine may be stuck in handing an event on.
	Cut() <-chan struct{}
	// Leave ends the membership. It may be called again, and from any goroutine.
	Leave()
}
