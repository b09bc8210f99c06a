package certs

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// A FileSource is a Source read from files that may be replaced while it is in
// use. All its files are one set: it moves from one set that holds to the next,
// and stays with the last good one while a replacement is broken, half-written,
// or of a certificate and key that do not match. A change counts from the time
// that all have settled; by default that is less than a second.
//
// It may be used concurrently, and holds a goroutine until it is closed.
type FileSource struct {
	paths    Paths
	logger   *slog.Logger
	interval time.Duration
	strict   bool

	cancel context.CancelFunc
	follow sync.WaitGroup

	current  atomic.Pointer[Material]
	loads    atomic.Uint64
	failures atomic.Uint64

	loading sync.Mutex        // held while the files are read; guards the three digests
	applied [sha256.Size]byte // of the set in use
	seen    [sha256.Size]byte // of the set read last
	refused [sha256.Size]byte // of the broken set that was reported last

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
	s := &FileSource{paths: p, logger: slog.Default(), changed: make(chan struct{})}
	for _, option := range options {
		option(s)
	}
	if err := s.Reload(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.follow.Go(func() { Watch(ctx, s.interval, p.list(), s.look) })
	s.follow.Go(func() { s.remind(ctx) })
	return s, nil
}

// Material returns the set in use.
func (s *FileSource) Material() *Material { return s.current.Load() }

// Changed returns a channel that is closed when another set comes into use.
func (s *FileSource) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// Loads returns how many sets have come into use, the first included.
func (s *FileSource) Loads() uint64 { return s.loads.Load() }

// Failures returns how many sets were found broken, each once.
func (s *FileSource) Failures() uint64 { return s.failures.Load() }

// Close stops following the files and waits until that has ended. Material
// still returns the last set.
func (s *FileSource) Close() error {
	s.cancel()
	s.follow.Wait()
	return nil
}

// Reload reads the files now, without waiting for them to settle, and says what
// is wrong with them. After an error the set before stays in use.
func (s *FileSource) Reload() error {
	s.loading.Lock()
	defer s.loading.Unlock()
	read, err := s.paths.read()
	digest := read.digest(err)
	s.seen = digest
	return s.take(read, digest, err)
}

// look takes up a set that is there for the second time, so that one that is
// still being written is left alone. Watch calls it often enough.
func (s *FileSource) look() {
	s.loading.Lock()
	defer s.loading.Unlock()
	read, err := s.paths.read()
	digest := read.digest(err)
	settled := digest == s.seen
	s.seen = digest
	if settled && digest != s.refused {
		_ = s.take(read, digest, err) // take has logged and counted it
	}
}

// take puts the set in use, or reports why it can't be.
func (s *FileSource) take(read contents, digest [sha256.Size]byte, err error) error {
	var m *Material
	if err == nil && digest == s.applied {
		s.refused = [sha256.Size]byte{}
		return nil
	}
	if err == nil {
		m, err = s.paths.material(read, s.strict)
	}
	if err != nil {
		if digest != s.refused {
			s.failures.Add(1)
			s.report(err)
		}
		s.refused = digest
		return err
	}
	s.refused = [sha256.Size]byte{}
	s.applied = digest
	s.current.Store(m)
	if s.loads.Add(1) > 1 {
		s.logger.Info("key material replaced", "roots", len(m.roots), "certificate_expires", expiryOf(m))
	}
	s.warn(m, time.Now())
	s.mu.Lock()
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
	return nil
}

// report logs a broken replacement. The error of the first load goes to the
// caller of Files alone.
func (s *FileSource) report(err error) {
	if s.current.Load() != nil {
		s.logger.Error("key material not replaced: the last good set stays in use", "error", err)
	}
}

// remind warns again of what still needs a person.
func (s *FileSource) remind(ctx context.Context) {
	ticker := time.NewTicker(time.Hour)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			s.warn(s.Material(), now)
		}
	}
}

// expiringSoon is how long before its end a certificate is warned of.
const expiringSoon = 3 * 24 * time.Hour

func (s *FileSource) warn(m *Material, now time.Time) {
	for _, crl := range m.revocations.Stale(now) {
		text := "revocation list is past its next update: it serves on; install a new one"
		if s.strict {
			text = "revocation list is past its next update: its authority's certificates are refused; install a new one"
		}
		s.logger.Warn(text, "issuer", crl.Issuer.String(), "next_update", stamp(crl.NextUpdate))
	}
	if m.certificate != nil && now.Add(expiringSoon).After(m.certificate.Leaf.NotAfter) {
		s.logger.Warn("own certificate ends soon or has ended: install a new one", "file", s.paths.Certificate, "expires", expiryOf(m))
	}
}

func expiryOf(m *Material) string {
	if m.certificate == nil {
		return ""
	}
	return stamp(m.certificate.Leaf.NotAfter)
}
