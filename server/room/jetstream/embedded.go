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
// on the same folder, which shows what has been stored; as long as that cannot write
// either, what was stored before can be read.
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
