package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"securechat/server/room"
)

// EmbeddedConfig is where an embedded log is and how it is kept.
type EmbeddedConfig struct {
	// Dir is the folder that holds the log. It is made where it is not there, and
	// must belong to this process's user alone: others have no rights to it.
	Dir string
	// Keep is how long messages are kept.
	Keep Retention
	// SyncInterval, where it is not 0, is how often what was appended is made
	// durable. A crash of the machine, not of the process, then loses what was
	// acknowledged since. 0 makes each append durable before it is acknowledged.
	SyncInterval time.Duration
	// Logger is told what the server reports; nil: nobody is.
	Logger *slog.Logger
}

// Local is a room.Log in a NATS server inside this process, which nobody else can
// reach. It writes ahead of a full disk: an append is refused while there is no
// room for it. A server that could not write all the same is replaced by a new one
// on the same folder, which shows what has been stored.
type Local struct {
	config EmbeddedConfig
	unlock func() error

	turn    chan struct{} // of one place: who has put a value there has what follows
	current *instance     // nil: none runs; see down
	down    error         // why none runs
	tried   time.Time     // when one was last started
	doubted bool          // the last one's notes are not to be believed; see forget
}

var _ room.Log = (*Local)(nil)

const (
	// reserve is the free space that appends leave on the disk, for what the server
	// writes beside them.
	reserve = 8 << 20
	// restartEvery is the least time between attempts to start a server.
	restartEvery = time.Second
)

var (
	errClosed = errors.New("it is closed")
	// errAbsent says that nothing of an append is stored, nor will be.
	errAbsent = errors.New("nothing of it is there")
	errBroken = errors.New("it could not be written to and is opened again in a moment")
)

// Embedded opens the log in a folder. One process at a time can have it open.
func Embedded(config EmbeddedConfig) (*Local, error) {
	if err := config.Keep.check(); err != nil {
		return nil, err
	}
	if config.SyncInterval < 0 {
		return nil, errors.New("jetstream: the interval between syncs is negative: 0 syncs before each acknowledgement")
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	dir, err := filepath.Abs(config.Dir)
	if err != nil {
		return nil, fmt.Errorf("jetstream: %w", err)
	}
	config.Dir = dir
	if err := ownFolder(dir); err != nil {
		return nil, fmt.Errorf("jetstream: %w", err)
	}
	unlock, err := Lock(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, fmt.Errorf("jetstream: lock %s: %w", dir, err)
	}
	l := &Local{config: config, unlock: unlock, turn: make(chan struct{}, 1)}
	if l.current, err = start(&l.config); err != nil {
		return nil, errors.Join(fmt.Errorf("jetstream: open the log in %s: %w", dir, err), unlock())
	}
	return l, nil
}

// ownFolder makes the folder or sees to it that nobody else can write into it.
func ownFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the folder of the log: %w: name another", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a folder: name one", dir)
	}
	return checkFolder(info, dir)
}

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

// Close implements room.Log.
func (l *Local) Close() error {
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	if errors.Is(l.down, errClosed) {
		return nil
	}
	if l.current != nil {
		l.doubted = l.current.trouble() != nil
		l.current.stop()
		l.current = nil
	}
	l.down = errClosed
	return errors.Join(l.forget(), l.unlock())
}

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

// Read implements room.Log.
func (l *Local) Read(ctx context.Context, key room.Key, after uint64, limit int) (entries []room.Entry, more bool, err error) {
	err = l.ask(ctx, "read a room", func(in *instance) (shown uint64, err error) {
		entries, more, err = in.readable(ctx, key, after, limit)
		if len(entries) > 0 {
			shown = entries[len(entries)-1].Sequence
		}
		return shown, err
	})
	if err != nil {
		return nil, false, err
	}
	return entries, more, nil
}

// Newest implements room.Log.
func (l *Local) Newest(ctx context.Context, key room.Key) (newest uint64, err error) {
	err = l.ask(ctx, "look for a room's newest message", func(in *instance) (uint64, error) {
		newest, err = in.newest(ctx, key)
		return newest, err
	})
	if err != nil {
		return 0, err
	}
	return newest, nil
}

// Span implements room.Log.
func (l *Local) Span(ctx context.Context) (first, last uint64, err error) {
	err = l.ask(ctx, "look for the log's span", func(in *instance) (uint64, error) {
		first, last, err = in.span(ctx)
		return last, err
	})
	if err != nil {
		return 0, 0, err
	}
	return first, last, nil
}

// Rooms implements room.Log.
func (l *Local) Rooms(ctx context.Context, yield func(room.Key, uint64) bool) error {
	const doing = "list the rooms"
	in, err := l.instance(ctx)
	if err != nil {
		return errorOf(ctx, doing, err)
	}
	stands := true
	var waiting error
	if err := in.rooms(ctx, func(key room.Key, newest uint64) bool {
		if in.cut > 0 && newest > in.cut {
			if newest, waiting = in.newest(ctx, key); waiting != nil || newest == 0 {
				return waiting == nil
			}
		}
		stands, waiting = in.stands(ctx, newest)
		return stands && yield(key, newest)
	}); err != nil {
		return l.failed(ctx, in, doing, err)
	}
	if waiting == nil && !stands {
		_, waiting = l.replace(ctx, in)
		waiting = errors.Join(errBroken, waiting)
	}
	return errorOf(ctx, doing, waiting)
}

// askings is how many servers are asked, one in place of the other, until one shows
// only what stands.
const askings = 3

// ask asks the server, and the next one where it is replaced meanwhile, or has to be.
// The question returns the last sequence that it was shown.
func (l *Local) ask(ctx context.Context, doing string, question func(*instance) (shown uint64, err error)) error {
	in, err := l.instance(ctx)
	if err != nil {
		return errorOf(ctx, doing, err)
	}
	for range askings {
		shown, err := question(in)
		stands := false
		if err == nil {
			stands, err = in.stands(ctx, shown)
		}
		if stands || err != nil && (ctx.Err() != nil || in.trouble() == nil) {
			return errorOf(ctx, doing, err)
		}
		if in, err = l.replace(ctx, in); err != nil {
			return errorOf(ctx, doing, err)
		}
	}
	return unavailable(doing, errBroken)
}
