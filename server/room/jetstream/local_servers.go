package jetstream

import (
	"context"
	"errors"
	"time"
)

// instance returns the running server, starting one where the last one has failed.
func (l *Local) instance(ctx context.Context) (*instance, error) {
	select {
	case l.turn <- struct{}{}:
		current := l.current
		if <-l.turn; current != nil {
			return current, nil
		}
	default:
	}
	return l.await(ctx, l.running)
}

// writable returns a server that can write, as far as is known. One that can only be read
// is given another try at most once in restartEvery, and is there for readers in between.
func (l *Local) writable(ctx context.Context) (*instance, error) {
	in, err := l.instance(ctx)
	if err != nil || in.cut == 0 {
		return in, err
	}
	return l.await(ctx, func() (*instance, error) {
		if l.current == in && time.Since(l.tried) >= restartEvery {
			in.stop()
			l.current, l.doubted = nil, true
		}
		next, err := l.running()
		if err == nil && next.cut > 0 {
			return nil, errBroken
		}
		return next, err
	})
}

// replace stops a server that can't write and starts another. Where somebody else has
// done so meanwhile, it returns that one. What has begun is done also where the context
// ends before that.
func (l *Local) replace(ctx context.Context, failed *instance) (*instance, error) {
	return l.await(ctx, func() (*instance, error) {
		if l.current == failed {
			l.config.Logger.Error("the log could not be written to: it is opened again", "folder", l.config.Dir)
			l.current.stop()
			l.current, l.down, l.doubted = nil, errBroken, true
			_ = l.forget() // tried again before another starts
		}
		return l.running()
	})
}

// await calls get in its turn, which lasts for as long as a server takes to start, and
// waits for it until the context ends. What then goes on has the turn, for which Close
// waits.
func (l *Local) await(ctx context.Context, get func() (*instance, error)) (*instance, error) {
	select {
	case l.turn <- struct{}{}: // also where the context has ended: a failed server is stopped
	default:
		select {
		case l.turn <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	done := make(chan struct{})
	var got *instance
	var failed error
	go func() {
		defer close(done)
		defer func() { <-l.turn }()
		got, failed = get()
	}()
	select {
	case <-done:
		return got, failed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// running needs the turn.
func (l *Local) running() (*instance, error) {
	if l.current != nil {
		return l.current, nil
	}
	if errors.Is(l.down, errClosed) || time.Since(l.tried) < restartEvery {
		return nil, l.down
	}
	l.tried = time.Now()
	if l.down = l.forget(); l.down == nil {
		l.current, l.down = start(&l.config)
	}
	if l.down != nil {
		l.config.Logger.Error("the log can't be opened again: it is tried once more with the next call",
			"folder", l.config.Dir, "error", l.down)
	}
	return l.current, l.down
}

// forget forgets what a server in doubt has noted. It needs the turn.
func (l *Local) forget() error {
	if !l.doubted {
		return nil
	}
	err := forgetNotes(l.config.Dir)
	l.doubted = err != nil
	return err
}
