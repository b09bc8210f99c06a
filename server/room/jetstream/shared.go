package jetstream

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"securechat/server/room"
)

// patience is how long a call goes on trying while the cluster can't serve it, for
// instance while it elects a leader. An append that may have been stored is tried
// for as long as its context lets it.
const patience = 10 * time.Second

// Shared is a room.Log in a NATS server or cluster that several processes share,
// and the room.Cluster by which their hubs find each other.
type Shared struct {
	stream      *stream
	reconnected chan struct{}
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
	err := patiently(ctx, "append", func() (err error) {
		a, err = l.stream.prepare(ctx, drafts)
		return err
	})
	if err != nil {
		return 0, err
	}
	var first uint64
	inDoubt := false
	err = persistently(ctx, "append", &inDoubt, func(attempt int) (err error) {
		first, err = l.attempt(ctx, a, attempt, &inDoubt)
		return err
	})
	return first, err
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
	found, first, lookErr := l.stream.find(ctx, a)
	switch {
	case lookErr != nil:
		return 0, lookErr
	case found == stored:
		return first, nil
	case found == overtaken:
		return 0, room.ErrConflict
	default:
		return 0, err
	}
}

// Read implements room.Log. In a cluster any server may answer, and one that has
// not caught up with the others knows less.
func (l *Shared) Read(ctx context.Context, key room.Key, after uint64, limit int) (entries []room.Entry, more bool, err error) {
	err = patiently(ctx, "read a room", func() (err error) {
		entries, more, err = l.stream.read(ctx, key, after, limit)
		return err
	})
	return entries, more, err
}

// Newest implements room.Log.
func (l *Shared) Newest(ctx context.Context, key room.Key) (newest uint64, err error) {
	err = patiently(ctx, "look for a room's newest message", func() (err error) {
		newest, err = l.stream.newest(ctx, key)
		return err
	})
	return newest, err
}

// Span implements room.Log.
func (l *Shared) Span(ctx context.Context) (first, last uint64, err error) {
	err = patiently(ctx, "look for the log's span", func() (err error) {
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

// patiently tries until it succeeds or patience is at its end.
func patiently(ctx context.Context, doing string, try func() error) error {
	return persistently(ctx, doing, new(bool), func(int) error { return try() })
}

// persistently tries until it succeeds, the error is final, the context ends, or,
// where nothing is in doubt, patience is at its end.
func persistently(ctx context.Context, doing string, inDoubt *bool, try func(attempt int) error) error {
	begun := time.Now()
	for attempt := 1; ; attempt++ {
		err := try(attempt)
		switch {
		case err == nil, errors.Is(err, room.ErrConflict):
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case isFinal(err), !*inDoubt && time.Since(begun) > patience:
			return errorOf(ctx, doing, err)
		}
		if err := pause(ctx, attempt); err != nil {
			return err
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
