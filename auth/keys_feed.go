package auth

import (
	"context"
	"crypto"
	"crypto/x509"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"securechat/certs"
)

// A KeyFeed is a KeySource that follows a key set as it changes. What it last
// read in good order stays in force until something better replaces it, or until
// it is too old where KeyStrict is set.
type KeyFeed interface {
	KeySource
	// Has says whether the set in force has a key called kid. It never blocks.
	Has(kid string) bool
	// Changed returns a channel that is closed when another set next comes into
	// force, or none is any more. It is to be had before Has, so that no change
	// is missed.
	Changed() <-chan struct{}
	// Reload reads the set anew, now, and says why it could not. It waits for
	// that until ctx ends.
	Reload(ctx context.Context) error
	// State is what has become of the feed, which is called jwks. Of a file,
	// replacements are counted; of a URL, fetches.
	State() certs.FeedState
	// Close ends the following and waits until it has ended. The set in force
	// stays in force.
	io.Closer
}

const keyFeedName = "jwks"

// Keys follows the key set at location: an https URL (see KeyURL) or the path of
// a file (see KeyFile).
func Keys(location string, opts ...KeyOption) (KeyFeed, error) {
	if strings.Contains(location, "://") {
		return KeyURL(location, opts...)
	}
	return KeyFile(location, opts...)
}

// A KeyOption changes a default of KeyFile, KeyURL or Keys.
type KeyOption func(*keyOptions)

type keyOptions struct {
	logger *slog.Logger
	client *http.Client
	roots  *x509.CertPool
	maxAge time.Duration
	strict bool
}

// DefaultKeyMaxAge is how old the keys of a KeyURL may become where KeyMaxAge
// does not say.
const DefaultKeyMaxAge = 24 * time.Hour

func newKeyOptions(opts []KeyOption) keyOptions {
	o := keyOptions{logger: slog.Default(), maxAge: DefaultKeyMaxAge}
	for _, opt := range opts {
		opt(&o)
	}
	return o
}

// KeyMaxAge sets how long after the last good fetch the keys of a KeyURL are too
// old, in elapsed time; without it, DefaultKeyMaxAge. Beyond it they serve on, and
// the log says so, unless KeyStrict is set. They are fetched at least twice as
// often. A second is the least.
func KeyMaxAge(age time.Duration) KeyOption {
	return func(o *keyOptions) { o.maxAge = age }
}

// KeyStrict has the keys of a KeyURL that are too old refused as
// KeysUnavailable, for new calls and live streams, until they can be fetched.
func KeyStrict() KeyOption {
	return func(o *keyOptions) { o.strict = true }
}

// KeyLogger sends what is to be said about replacements, good and broken, to
// logger; without it, to slog.Default.
func KeyLogger(logger *slog.Logger) KeyOption {
	return func(o *keyOptions) { o.logger = logger }
}

// KeyRoots sets the authorities that may vouch for the server of a KeyURL;
// without it, the system's. Not to be used with KeyClient.
func KeyRoots(roots *x509.CertPool) KeyOption {
	return func(o *keyOptions) { o.roots = roots }
}

// KeyClient sets the client that a KeyURL fetches with. Its redirect policy and
// cookies are not used. A client that does not verify its server is refused.
func KeyClient(client *http.Client) KeyOption {
	return func(o *keyOptions) { o.client = client }
}

// keysInForce is the last good key set of a feed. It is safe for concurrent use.
type keysInForce struct {
	mu       sync.Mutex
	set      *KeySet  // nil until the first success
	withheld *Refusal // why set is too old to be used; nil if it is not
	changed  chan struct{}
	changes  uint64 // how often there was another set in force, or none any more
}

// Has says whether the set in force has a key called kid. It never blocks.
func (k *keysInForce) Has(kid string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.set != nil && k.withheld == nil && k.set.Has(kid)
}

// Changed returns a channel that is closed when another set next comes into
// force, or none is any more.
func (k *keysInForce) Changed() <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.changed
}

func (k *keysInForce) holds(kid string, key crypto.PublicKey) bool {
	set := k.current()
	return set != nil && set.holds(kid, key)
}

func (k *keysInForce) unusable() *Refusal {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.withheld
}

func (k *keysInForce) version() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.changes
}

func (k *keysInForce) current() *KeySet {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.set
}

// replace puts set in force and says whether that changed anything.
func (k *keysInForce) replace(set *KeySet) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.put(set)
}

// put is replace where k.mu is held.
func (k *keysInForce) put(set *KeySet) bool {
	if k.set != nil && k.withheld == nil && k.set.equal(set) {
		return false
	}
	k.set, k.withheld = set, nil
	k.tell()
	return true
}

// tell makes a change known. k.mu is held.
func (k *keysInForce) tell() {
	k.changes++
	close(k.changed)
	k.changed = make(chan struct{})
}
