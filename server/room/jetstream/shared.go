package jetstream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"securechat/server/room"
)

// patience is how long a call goes on trying while the cluster can't serve it, for
// instance while it elects a leader, or does not say what became of an append.
const patience = 15 * time.Second

// Shared is a room.Log in a NATS server or cluster that several processes share,
// and the room.Cluster by which their hubs find each other.
type Shared struct {
	stream      *stream
	reconnected chan struct{}
	patience    time.Duration
}

var (
	_ room.Log     = (*Shared)(nil)
	_ room.Cluster = (*Shared)(nil)
)

// Append implements room.Log.
func (l *Shared) Append(ctx context.Context, drafts []room.Draft) (uint64, error) {
	if len(drafts) == 0 {
		return 0, nil
	}
	var a *appending
	err := l.patiently(ctx, "append", func(ctx context.Context) (err error) {
		a, err = l.stream.prepare(ctx, drafts)
		return err
	})
	if err != nil {
		return 0, err
	}
	var first uint64
	inDoubt := false
	err = persistently(ctx, l.patience, func(ctx context.Context, attempt int) (err error) {
		first, err = l.attempt(ctx, a, attempt, &inDoubt)
		return err
	})
	if inDoubt && err != nil && !errors.Is(err, room.ErrConflict) && ctx.Err() == nil {
		err = fmt.Errorf("%w: %w", room.ErrInDoubt, err)
	}
	return first, errorOf(ctx, "append", err)
}

// attempt sends the append and, where that has not settled it, looks for it.
func (l *Shared) attempt(ctx context.Context, a *appending, attempt int, inDoubt *bool) (uint64, error) {
	first, err := l.stream.send(ctx, a, attempt)
	if err == nil {
		return first, nil
	}
	var doubt *doubtError
	*inDoubt = *inDoubt || errors.As(err, &doubt)
	if !*inDoubt && !errors.Is(err, errRefused) {
		return 0, err
	}
	found, first, lookErr := l.stream.look(ctx, a)
	var behind *room.BehindError
	switch {
	case errors.As(lookErr, &behind) && !*inDoubt:
		return 0, final{lookErr}
	case lookErr != nil:
		return 0, lookErr
	case found == stored:
		return first, nil
	case found == overtaken:
		return 0, room.ErrConflict
	case found == partial:
		*inDoubt = true // the server may complete it, once it is started again
		return 0, final{errPartial}
	default:
		return 0, err
	}
}

// Read implements room.Log. In a cluster any server may answer, and one that has
// not caught up with the others knows less.
func (l *Shared) Read(ctx context.Context, key room.Key, after uint64, limit int) (entries []room.Entry, more bool, err error) {
	// A turn may be long in coming, without anything being wrong.
	if entries, more, err = l.stream.read(ctx, key, after, limit); err == nil || isFinal(err) {
		return entries, more, errorOf(ctx, "read a room", err)
	}
	err = l.patiently(ctx, "read a room", func(ctx context.Context) (err error) {
		entries, more, err = l.stream.read(ctx, key, after, limit)
		return err
	})
	return entries, more, err
}

// Newest implements room.Log.
func (l *Shared) Newest(ctx context.Context, key room.Key) (newest uint64, err error) {
	err = l.patiently(ctx, "look for a room's newest message", func(ctx context.Context) (err error) {
		newest, err = l.stream.newest(ctx, key)
		return err
	})
	return newest, err
}

// Span implements room.Log.
func (l *Shared) Span(ctx context.Context) (first, last uint64, err error) {
	err = l.patiently(ctx, "look for the log's span", func(ctx context.Context) (err error) {
		first, last, err = l.stream.span(ctx)
		return err
	})
	return first, last, err
}

// Rooms implements room.Log.
func (l *Shared) Rooms(ctx context.Context, yield func(room.Key, uint64) bool) error {
	return errorOf(ctx, "list the rooms", l.stream.rooms(ctx, yield))
}

// Close implements room.Log.
func (l *Shared) Close() error {
	l.stream.close()
	return nil
}

// patiently tries until it succeeds, the error is final, or patience is at its end.
func (l *Shared) patiently(ctx context.Context, doing string, try func(context.Context) error) error {
	return errorOf(ctx, doing, persistently(ctx, l.patience, func(ctx context.Context, _ int) error { return try(ctx) }))
}

// persistently tries until it succeeds, the error is final, or the context or
// patience is at its end, and returns the last error then. What try is given ends
// with patience.
func persistently(ctx context.Context, patience time.Duration, try func(ctx context.Context, attempt int) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var last error
	for attempt := 1; ; attempt++ {
		err := try(ctx, attempt)
		if err == nil || isFinal(err) {
			return err
		}
		if last == nil || ctx.Err() == nil {
			last = err // one that says more than that the time is over
		}
		if pause(ctx, attempt) != nil {
			return last
		}
	}
}

// pause waits before another attempt, longer from one to the next, up to half a
// second, so that a server that comes back is not met by all at once.
func pause(ctx context.Context, attempt int) error {
	const first, longest = 5 * time.Millisecond, 500 * time.Millisecond
	wait := min(first<<min(attempt, 10), longest)
	timer := time.NewTimer(wait/2 + rand.N(wait/2))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
