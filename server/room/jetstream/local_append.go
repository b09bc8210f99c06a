package jetstream

import (
	"context"
	"errors"
	"fmt"

	"securechat/server/room"
)

// Append implements room.Log.
func (l *Local) Append(ctx context.Context, drafts []room.Draft) (uint64, error) {
	if len(drafts) == 0 {
		return 0, nil
	}
	in, err := l.writable(ctx)
	if err != nil {
		return 0, errorOf(ctx, "append", err)
	}
	a, err := in.prepare(ctx, drafts)
	if err != nil {
		return 0, l.failed(ctx, in, "append", err)
	}
	if err := enoughSpace(l.config.Dir, a.size()); err != nil {
		return 0, unavailable("append", err)
	}
	var first uint64
	err = persistently(ctx, localAnswer+patience, func(ctx context.Context, attempt int) (err error) {
		first, err = l.attempt(ctx, in, a, attempt)
		return err
	})
	return first, errorOf(ctx, "append", err)
}

// attempt sends the append and settles what became of it.
func (l *Local) attempt(ctx context.Context, in *instance, a *appending, attempt int) (uint64, error) {
	first, err := in.try(ctx, a, attempt)
	var doubt *doubtError
	switch {
	case err == nil:
		return first, nil
	case ctx.Err() != nil && errors.As(err, &doubt):
		return 0, final{fmt.Errorf("%w: %w", room.ErrInDoubt, l.failed(ctx, in, "append", err))}
	case errors.As(err, &doubt):
		return l.settle(ctx, in, a, doubt)
	case !errors.Is(err, errRefused):
		return 0, final{l.failed(ctx, in, "append", err)}
	}
	found, _, lookErr := in.find(ctx, a)
	var behind *room.BehindError
	switch {
	case errors.As(lookErr, &behind):
		return 0, final{lookErr} // nobody else is to catch up
	case lookErr != nil:
		return 0, lookErr
	case found == stored: // and not acknowledged
		return l.settle(ctx, in, a, &doubtError{err})
	case found == overtaken:
		return 0, room.ErrConflict
	default:
		return 0, err // what it expects is put right, or a message was under way
	}
}

// settle finds out from a new server whether an append without an answer has been
// stored, as far as one can be started soon. A server that has been stopped can't
// store it later.
func (l *Local) settle(ctx context.Context, in *instance, a *appending, doubt *doubtError) (first uint64, err error) {
	var behind *room.BehindError
	err = persistently(ctx, patience, func(ctx context.Context, _ int) error {
		next, err := l.replace(ctx, in)
		if errors.Is(err, errClosed) {
			return final{err}
		} else if err != nil {
			return err
		}
		in = next
		var found finding
		switch found, first, err = next.find(ctx, a); {
		case errors.As(err, &behind):
			return final{err} // as any other server would say
		case err != nil:
			return err
		case found == stored:
			if stands, err := next.stands(ctx, first+uint64(len(a.messages))-1); err != nil || !stands {
				return errors.Join(errBroken, err) // it writes the rest of a batch when it starts, and may not have been able to
			}
			return nil
		case found == overtaken:
			return room.ErrConflict
		case found == partial:
			return final{errPartial}
		default:
			return final{errAbsent}
		}
	})
	switch {
	case err == nil, errors.Is(err, room.ErrConflict), errors.As(err, &behind):
		return first, err
	case errors.Is(err, errAbsent):
		return 0, final{unavailable("append", doubt.cause)}
	default:
		return 0, final{fmt.Errorf("%w: %w", room.ErrInDoubt, err)}
	}
}

// failed replaces a server that is the reason of a failure and returns the error
// for the caller.
func (l *Local) failed(ctx context.Context, in *instance, doing string, err error) error {
	if in.trouble() != nil {
		_, _ = l.replace(ctx, in) // the next call has the error, if there is one
	}
	return errorOf(ctx, doing, err)
}
