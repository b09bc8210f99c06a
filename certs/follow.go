package certs

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// A File is one file to Follow.
type File struct {
	// Name is that of the feed, in words for the log, such as "room policy".
	Name string
	// Path is the file's. It may have 1 MiB at most.
	Path string
	// Lines says that each line of the file stands by itself, so that one that is
	// cut off between two looks whole. While it is being written to, it is taken
	// only as long as it ends with the end of a line.
	Lines bool
	// Take puts what the text says in force, or says what is wrong with it and
	// changes nothing. Calls do not overlap.
	Take func(text []byte) error
	// Logger is told of broken replacements; nil: slog.Default.
	Logger *slog.Logger
	// Interval is how often the file is looked at; zero: DefaultInterval.
	Interval time.Duration
}

// A Following holds a goroutine until it is closed. It may be used concurrently.
type Following struct {
	file   File
	cancel context.CancelFunc
	ended  sync.WaitGroup

	loading sync.Mutex // held while the file is read; guards record
	record  record
	state   atomic.Pointer[FeedState]
}

// Follow has a file's text taken, which must be good, and taken again whenever it
// has changed, until Close: within a second, in whatever way it was replaced and
// whatever is written to it afterwards. A replacement that Take does not accept, or that cannot be
// read, changes nothing, is logged and counted once, and is left behind by the
// next good one.
func Follow(file File) (*Following, error) {
	if file.Logger == nil {
		file.Logger = slog.Default()
	}
	f := &Following{file: file}
	if err := f.Reload(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.cancel = cancel
	f.ended.Go(func() { Watch(ctx, file.Interval, []string{file.Path}, func() { _ = f.load(false) }) }) // load has logged it
	return f, nil
}

// Reload reads the file now, without waiting for it to settle, and says what is
// wrong with it. After an error what was taken before stays in force.
func (f *Following) Reload() error { return f.load(true) }

// State returns what has become of the file.
func (f *Following) State() FeedState { return *f.state.Load() }

// Close stops following the file and waits until that has ended.
func (f *Following) Close() error {
	f.cancel()
	f.ended.Wait()
	return nil
}

func (f *Following) load(byHand bool) error {
	f.loading.Lock()
	defer f.loading.Unlock()
	defer f.publish()
	var text []byte
	now := see([]string{f.file.Path}, func() (_ [][]byte, err error) {
		text, err = readFile(f.file.Path)
		return [][]byte{text}, err
	})
	is := f.record.settle(now, byHand)
	switch {
	case !is.counts, now.digest == f.record.refused && !byHand:
		return nil
	case now.err == nil && f.record.good > 0 && now.digest == f.record.applied:
		f.record.unchanged(byHand)
		return nil
	}
	err := now.readable(is, f.file.Lines)
	if err == nil {
		err = f.file.Take(text)
	}
	if err == nil {
		f.record.accept(now.digest)
		return nil
	}
	if is.patient {
		return nil
	}
	read, err := now.broken(is, fileError(f.file.Name+" file", f.file.Path, err))
	if f.record.refuse(read) && f.record.good > 0 {
		f.publish()
		f.file.Logger.Error(f.file.Name+" not replaced: the last good one stays in force", "file", f.file.Path, "error", err)
	}
	return err
}

// publish has State show what has been found: before the log says it.
func (f *Following) publish() {
	state := f.record.state(f.file.Name, time.Time{})
	f.state.Store(&state)
}
