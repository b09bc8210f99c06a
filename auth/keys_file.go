package auth

import (
	"context"

	"securechat/certs"
)

// A KeyFileSource is a KeyFeed over a file.
type KeyFileSource struct {
	keysInForce
	file *certs.Following
}

// KeyFile reads the JSON Web Key Set in the file at path (see ParseKeySet) and
// follows its changes, whether the file is rewritten or replaced, within a
// second. A replacement that is broken or missing is logged and counted, and
// changes nothing else. Close releases it.
func KeyFile(path string, opts ...KeyOption) (*KeyFileSource, error) {
	logger := newKeyOptions(opts).logger
	s := &KeyFileSource{keysInForce: keysInForce{changed: make(chan struct{})}}
	take := func(text []byte) error {
		set, err := ParseKeySet(text)
		if err != nil {
			return err
		}
		first := s.current() == nil
		if s.replace(set) && !first {
			logger.Info("token keys replaced", "file", path, "kids", set.IDs())
		}
		return nil
	}
	var err error
	s.file, err = certs.Follow(certs.File{Name: "token keys", Path: path, Take: take, Logger: logger})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Key returns the key called kid of the set in force, or a TokenKeyUnknown
// refusal. It never blocks.
func (s *KeyFileSource) Key(ctx context.Context, kid string) (Key, error) {
	return s.current().Key(ctx, kid)
}

// Reload reads the file now, without waiting for it to settle, and says what is
// wrong with it.
func (s *KeyFileSource) Reload(context.Context) error { return s.file.Reload() }

// State is what has become of the file.
func (s *KeyFileSource) State() certs.FeedState {
	state := s.file.State()
	state.Name = keyFeedName
	return state
}

// Close ends the following and waits until it has ended.
func (s *KeyFileSource) Close() error { return s.file.Close() }
