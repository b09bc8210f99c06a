package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"securechat/certs"
)

// A KeyFileSource is a KeyFeed over a file.
type KeyFileSource struct {
	keysInForce
	path   string
	logger *slog.Logger
	stop   context.CancelFunc
	ended  chan struct{}

	// Owned by follow once it runs.
	seen     string // the content last read, good or not; empty after a read that failed
	broken   error  // why what was seen last is not in force; nil if it is
	reported bool   // whether broken has been logged and counted
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
		seen:        string(content),
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

func (s *KeyFileSource) follow(ctx context.Context) {
	defer close(s.ended)
	certs.Watch(ctx, certs.DefaultInterval, []string{s.path}, s.look)
}

// look takes up the file's content if it differs from what was seen last.
// Content that is broken is reported once, and only when it is still there at
// the next look: the file may be in the midst of being written.
func (s *KeyFileSource) look() {
	content, err := readKeyFile(s.path)
	if string(content) == s.seen && (err == nil || s.broken != nil) {
		if s.broken != nil && !s.reported {
			s.report()
		}
		return
	}
	s.seen, s.broken, s.reported = string(content), err, false
	if err != nil {
		return
	}
	set, err := ParseKeySet(content)
	if err != nil {
		s.broken = fmt.Errorf("%s: %w", s.path, err)
		return
	}
	if s.replace(set) {
		s.logger.Info("token keys replaced", "file", s.path, "kids", set.IDs())
	}
}

func (s *KeyFileSource) report() {
	s.reported = true
	s.countFailure()
	s.logger.Error("token keys not replaced: the last good ones serve on", "file", s.path, "error", s.broken)
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
