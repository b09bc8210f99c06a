package auth

import (
	"crypto"
	"crypto/x509"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
)

// A KeyFeed is a KeySource that follows a key set as it changes. What it last
// read in good order stays in force until something better replaces it.
type KeyFeed interface {
	KeySource
	// Has says whether the set in force has a key called kid. It never blocks.
	Has(kid string) bool
	// Changed returns a channel that is closed when another set next comes into
	// force. It is to be had before Has, so that no change is missed.
	Changed() <-chan struct{}
	// Failures counts the attempts at reading the set that failed.
	Failures() uint64
	// Close ends the following and waits until it has ended. The set in force
	// stays in force.
	io.Closer
}

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
}

func newKeyOptions(opts []KeyOption) keyOptions {
	o := keyOptions{logger: slog.Default()}
	for _, opt := range opts {
		opt(&o)
	}
	return o
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
	set      *KeySet // nil until the first success
	changed  chan struct{}
	failures uint64
	replaced uint64 // how often set was
}

// Has says whether the set in force has a key called kid. It never blocks.
func (k *keysInForce) Has(kid string) bool {
	set := k.current()
	return set != nil && set.Has(kid)
}

// Changed returns a channel that is closed when another set next comes into
// force.
func (k *keysInForce) Changed() <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.changed
}

// Failures counts the attempts at reading the set that failed.
func (k *keysInForce) Failures() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.failures
}

func (k *keysInForce) holds(kid string, key crypto.PublicKey) bool {
	set := k.current()
	return set != nil && set.holds(kid, key)
}

func (k *keysInForce) version() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.replaced
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
	if k.set != nil && k.set.equal(set) {
		return false
	}
	k.set = set
	k.replaced++
	close(k.changed)
	k.changed = make(chan struct{})
	return true
}

func (k *keysInForce) countFailure() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.failures++
}
