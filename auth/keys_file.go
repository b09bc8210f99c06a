package auth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"
)

// keyFilePoll is how often a key file is read. Together with the reading it
// stays well below the second within which a retired key must be noticed.
const keyFilePoll = 250 * time.Millisecond

// A KeyFileSource is a KeyFeed over a file.
type KeyFileSource struct {
	keysInForce
	path   string
	logger *slog.Logger
	stop   context.CancelFunc
	ended  chan struct{}

	seen []byte // owned by follow: the content last looked at, good or not
	gone bool   // owned by follow: whether the last read failed
}

// KeyFile reads the JSON Web Key Set in the file at path (see ParseKeySet) and
// follows its changes, whether the file is rewritten or replaced, within a
// second. A replacement that is broken or missing is logged and counted, and
// changes nothing else. Close releases it.
func KeyFile(path string, opts ...KeyOption) (*KeyFileSource, error) {
	content, err := readKeyFile(path)
	if err != nil {
		return nil, err
	}
	set, err := ParseKeySet(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &KeyFileSource{
		keysInForce: keysInForce{set: set, changed: make(chan struct{})},
		path:        path,
		logger:      newKeyOptions(opts).logger,
		stop:        stop,
		ended:       make(chan struct{}),
		seen:        content,
	}
	go s.follow(ctx)
	return s, nil
}

// Key returns the key called kid of the set in force, or a TokenKeyUnknown
// refusal. It never blocks.
func (s *KeyFileSource) Key(ctx context.Context, kid string) (Key, error) {
	return s.current().Key(ctx, kid)
}

// Close ends the following and waits until it has ended.
func (s *KeyFileSource) Close() error {
	s.stop()
	<-s.ended
	return nil
}

// follow compares contents, not times and sizes: two writes within one tick of
// the file system's clock differ in nothing else.
func (s *KeyFileSource) follow(ctx context.Context) {
	defer close(s.ended)
	ticker := time.NewTicker(keyFilePoll)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.look()
		}
	}
}

// look takes up the file's content if it differs from what was seen last. Each
// broken content is reported once.
func (s *KeyFileSource) look() {
	content, err := readKeyFile(s.path)
	if err != nil {
		if !s.gone {
			s.report(err)
		}
		s.gone = true
		return
	}
	if bytes.Equal(content, s.seen) && !s.gone {
		return
	}
	s.seen, s.gone = content, false
	set, err := ParseKeySet(content)
	if err != nil {
		s.report(fmt.Errorf("%s: %w", s.path, err))
		return
	}
	if s.replace(set) {
		s.logger.Info("token keys replaced", "file", s.path, "kids", set.IDs())
	}
}

func (s *KeyFileSource) report(err error) {
	s.countFailure()
	s.logger.Error("token keys not replaced: the last good ones serve on", "file", s.path, "error", err)
}

// readKeyFile reads at most one byte more than a key set may have.
func readKeyFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("key set: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: key set: not a regular file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("key set: %w", err)
	}
	content, err := io.ReadAll(io.LimitReader(file, maxKeySetBytes+1))
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("%s: key set: %w", path, err)
	}
	return content, nil
}
