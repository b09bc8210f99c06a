package certs

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A FileSource is a Source read from files that may be replaced while it is in
// use. Certificate and key, roots, revocation lists and revocations are a feed
// each, which moves from one value that holds to the next and stays with the last
// good one while a replacement is broken, half-written, or of a certificate and
// key that do not match. A broken feed does not hold up the others. A list in the
// name of a root must be of that root; roots do not wait for it. By default a change is in force
// within a second, whatever is written afterwards: when its files have settled, or
// have been renamed into place, or have not settled for 400 ms.
//
// It may be used concurrently, and holds a goroutine until it is closed.
type FileSource struct {
	paths    Paths
	logger   *slog.Logger
	interval time.Duration
	strict   bool

	cancel context.CancelFunc
	follow sync.WaitGroup

	current atomic.Pointer[Material]
	loads   atomic.Uint64
	states  atomic.Pointer[[]FeedState]

	loading sync.Mutex // held while the files are read; guards feeds and values
	feeds   []*fileFeed
	values  values

	mu      sync.Mutex
	changed chan struct{} // closed at the next change
}

var (
	_ Source   = (*FileSource)(nil)
	_ Notifier = (*FileSource)(nil)
)

// A FileOption adds to Files.
type FileOption func(*FileSource)

// WithLogger has changes and broken replacements logged there and not to
// slog.Default.
func WithLogger(logger *slog.Logger) FileOption {
	return func(s *FileSource) { s.logger = logger }
}

// WithInterval sets how often the files are looked at: see DefaultInterval.
func WithInterval(interval time.Duration) FileOption {
	return func(s *FileSource) { s.interval = interval }
}

// WithStrictCRLs refuses certificates whose issuer's revocation list is past its
// nextUpdate: see Revocations.Strict.
func WithStrictCRLs() FileOption {
	return func(s *FileSource) { s.strict = true }
}

// Files reads the files, which must all be good, and follows their changes until
// Close.
func Files(p Paths, options ...FileOption) (*FileSource, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	s := &FileSource{paths: p, logger: slog.Default(), feeds: p.feeds(), changed: make(chan struct{})}
	for _, option := range options {
		option(s)
	}
	if err := s.Reload(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.follow.Go(func() { Watch(ctx, s.interval, p.list(), func() { _ = s.load(false) }) }) // load has logged it
	s.follow.Go(func() { s.remind(ctx) })
	return s, nil
}

// Material returns the set in use, which is made of what the feeds say.
func (s *FileSource) Material() *Material { return s.current.Load() }

// Changed returns a channel that is closed when another set comes into use.
func (s *FileSource) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// Loads returns how many sets have come into use, the first included.
func (s *FileSource) Loads() uint64 { return s.loads.Load() }

// Feeds returns what has become of each feed: certificate (with its key), roots,
// crl and revocations, as far as there are files for them.
func (s *FileSource) Feeds() []FeedState { return slices.Clone(*s.states.Load()) }

// Close stops following the files and waits until that has ended. Material
// still returns the last set.
func (s *FileSource) Close() error {
	s.cancel()
	s.follow.Wait()
	return nil
}

// Reload reads the files now, without waiting for them to settle, and says all
// that is wrong with them. After an error the feeds concerned stay with their last
// good value.
func (s *FileSource) Reload() error { return s.load(true) }

// A change is what was read of a feed, good by itself and not yet in force.
type change struct {
	feed *fileFeed
	read digest
	put  func(*values)
}

// load puts in force what is good of what has changed. Unless it is asked for by
// hand, it leaves alone what may still be in the midst of being written. Watch
// calls it often enough.
func (s *FileSource) load(byHand bool) error {
	s.loading.Lock()
	defer s.loading.Unlock()
	defer s.publish()
	var fresh []change
	var problems []error
	for _, feed := range s.feeds {
		now := feed.see()
		is := feed.settle(now, byHand)
		if !is.counts || now.digest == feed.refused && !byHand {
			continue
		}
		if now.err == nil && feed.good > 0 && now.digest == feed.applied {
			feed.unchanged(byHand)
			continue
		}
		err := now.readable(is, feed.lines)
		var put func(*values)
		if err == nil {
			put, err = feed.parse(now.texts)
		}
		if err != nil {
			if !is.patient {
				read, err := now.broken(is, err)
				problems = append(problems, s.refuse(feed, read, err))
			}
			continue
		}
		fresh = append(fresh, change{feed, now.digest, put})
	}
	if len(fresh) > 0 && (s.current.Load() != nil || len(problems) == 0) {
		problems = append(problems, s.take(append(fresh, s.waiting(fresh)...))...)
	}
	return errors.Join(problems...)
}

// waiting returns what was good by itself at an earlier look, did not fit then, and
// is there still, beside the changes.
func (s *FileSource) waiting(fresh []change) (waiting []change) {
	for _, feed := range s.feeds {
		c := feed.waiting
		if c.feed != nil && c.read == feed.refused && c.read == feed.last.digest &&
			!slices.ContainsFunc(fresh, func(f change) bool { return f.feed == feed }) {
			waiting = append(waiting, c)
		}
	}
	return waiting
}

// take puts the changes in force that fit with each other and with what is in
// force, and returns what is wrong with the others.
func (s *FileSource) take(fresh []change) (problems []error) {
	taken, next, m, err := s.fitting(fresh)
	s.values = next
	for _, c := range fresh {
		if !slices.Contains(taken, c.feed) {
			c.feed.waiting = c
			problems = append(problems, s.refuse(c.feed, c.read, err))
		} else {
			c.feed.accept(c.read)
		}
	}
	if len(taken) == 0 {
		return problems
	}
	s.current.Store(m)
	s.publish()
	if s.loads.Add(1) > 1 {
		var names []string
		for _, feed := range taken {
			names = append(names, feed.name)
		}
		s.logger.Info("key material replaced", "feeds", strings.Join(names, " "), "roots", len(m.roots), "certificate_expires", expiryOf(m))
	}
	s.warn(m, time.Now())
	s.mu.Lock()
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
	return problems
}

// fitting returns the changes that are to be in force, and what they make of what
// is: all, but for lists that are not of the root that they name. Roots never wait
// for lists: one that leaves is not trusted any more. What was in force and does
// not fit them is kept, and still revokes what its own key has signed (see
// Revocations.Certificate). The error says why not all.
func (s *FileSource) fitting(fresh []change) (taken []*fileFeed, next values, m *Material, why error) {
	next = s.values
	for _, c := range fresh {
		if c.feed.name != feedCRL {
			c.put(&next)
			taken = append(taken, c.feed)
		}
	}
	for _, c := range fresh {
		if c.feed.name == feedCRL {
			fits := next
			c.put(&fits)
			if why = fits.lists.signedBy(fits.roots); why != nil {
				why = fileError("revocation list file", s.paths.CRL, why)
				continue
			}
			next = fits
			taken = append(taken, c.feed)
		}
	}
	m, err := next.material(s.strict)
	if err != nil { // each has been parsed, so that this cannot be
		return nil, s.values, nil, err
	}
	return taken, next, m, why
}

// refuse counts and logs a broken replacement, once. The error of the first load
// goes to the caller of Files alone.
func (s *FileSource) refuse(feed *fileFeed, read digest, err error) error {
	if feed.refuse(read) && s.current.Load() != nil {
		s.publish()
		s.logger.Error("key material not replaced: the last good one stays in use", "feed", feed.name, "error", err)
	}
	return err
}

// publish has Feeds show what has been found: before the log says it.
func (s *FileSource) publish() {
	states := make([]FeedState, 0, len(s.feeds))
	for _, feed := range s.feeds {
		var expires time.Time
		if feed.good > 0 {
			expires = feed.expires(s.values)
		}
		states = append(states, feed.state(feed.name, expires))
	}
	s.states.Store(&states)
}
