package room

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// An Entry is a message as the log keeps it.
type Entry struct {
	// Room is the room's key.
	Room Key
	// Sequence is the entry's position in the log: it rises, never repeats, and
	// rooms share it. Previous is that of the room's entry before it, kept or not,
	// and 0 for the room's first. Where retention has left nothing of the room and
	// the writer knew of nothing either, nobody can tell: then it is the last
	// sequence that the log no longer has, so that nothing is missed unnoticed.
	Sequence, Previous uint64
	// User is the verified author, ID the author's idempotency key; it may be empty.
	User, ID string
	Text     string
	// Time is when the message was accepted, to the millisecond.
	Time time.Time
	// Traceparent is the W3C trace context in which the entry was stored; empty
	// where that was not traced.
	Traceparent string
}

// A Draft is a message to be appended. Its strings are valid UTF-8. Expected is
// the sequence of the room's newest entry that the caller knows of, 0 where it
// knows of none; the entry itself may have been discarded since, and nothing that
// is younger than the log's retention may be unknown to the caller. Among the
// drafts of one Append the first of each room counts; those after it follow it.
type Draft struct {
	Entry    // Sequence and Previous are the log's to give
	Expected uint64
}

var (
	// ErrConflict says that a room has entries of which the caller did not know:
	// read them and append again.
	ErrConflict = errors.New("room: another node has written to the room meanwhile")
	// ErrUnavailable says that the log cannot store or read now, because its disk
	// is full or its cluster has no quorum, and may later.
	ErrUnavailable = errors.New("room: the log is not available")
	// ErrRefused says that the log takes one of the drafts neither now nor later,
	// such as one that is too large for it.
	ErrRefused = errors.New("room: the log does not take the message")
	// ErrInDoubt is the ErrUnavailable of an append of which nobody can say now how
	// much is stored, or may be yet: nothing, all, or its beginning. Whatever it
	// comes to, the rooms keep their order: a later append to one of them either
	// conflicts with it or keeps it out.
	ErrInDoubt = fmt.Errorf("%w: it has not said what became of an append", ErrUnavailable)
)

// A BehindError says that the log has less of a room than the caller knows of,
// though retention has not discarded it: an operator has deleted it, or the log has
// lost its end.
type BehindError struct {
	Room Key
	// Known is the sequence that the caller knows of, Newest the room's newest
	// that the log has; 0 where it has none.
	Known, Newest uint64
}

func (e *BehindError) Error() string {
	return fmt.Sprintf("room: the log has a room up to %d only, of which %d has been seen", e.Newest, e.Known)
}

// A Log keeps the messages of all rooms in one order. Its methods may be called
// concurrently.
type Log interface {
	// Append stores the drafts in this order, all or none, and returns once they
	// are durable, with the sequence of the first; the others follow it without a
	// gap. An append whose outcome is in doubt is tried again until it is known,
	// for some seconds. An error means that nothing of it is stored nor will be,
	// save ErrInDoubt and the context's. Errors: ErrConflict, ErrUnavailable,
	// ErrInDoubt, ErrRefused, *BehindError, the context's.
	Append(ctx context.Context, drafts []Draft) (first uint64, err error)

	// Read returns the room's entries after a sequence, oldest first, at most
	// limit of them and at most about a MiB, and whether there are more. What it
	// returns has no holes; that entries before the first of them have been
	// discarded shows in the first's Previous. In a cluster it may be as of a moment
	// ago and so lack the newest: Newest tells whether it does.
	Read(ctx context.Context, room Key, after uint64, limit int) (entries []Entry, more bool, err error)

	// Newest returns the sequence of the room's newest entry, 0 where it has none,
	// as of a moment after the call.
	Newest(ctx context.Context, room Key) (uint64, error)

	// Span returns the first sequence that the log may still have and the last
	// that it has given: last is first-1 where it is empty. Sequences begin at 2,
	// so that last is a position that a reader can come back to from the start.
	Span(ctx context.Context) (first, last uint64, err error)

	// Rooms calls yield with each room that has entries and the sequence of its
	// newest, in no order, until yield returns false.
	Rooms(ctx context.Context, yield func(room Key, newest uint64) bool) error

	// Close releases what the log holds. Nothing may be under way.
	Close() error
}

// A Cluster is what the hubs of several nodes need of one another beside a common
// log. Its methods may be called concurrently.
type Cluster interface {
	// Follow calls each with the room's entries of all nodes, this one's too, soon
	// after they are stored, on one goroutine, in order; some may be missing. It
	// ends when stop has returned.
	Follow(room Key, each func(Entry)) (stop func(), err error)

	// Publish sends a note, which is not stored, to those that listen to the room,
	// this node included.
	Publish(room Key, note []byte) error
	// Listen calls each with the room's notes, on one goroutine. It ends when stop
	// has returned.
	Listen(room Key, each func(note []byte)) (stop func(), err error)

	// Reconnected gives a value after a connection was lost and made again:
	// entries and notes may have been missed. One value may stand for several.
	Reconnected() <-chan struct{}
}
