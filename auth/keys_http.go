package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"
)

const (
	keyFetchTimeout = 10 * time.Second
	// keyDemandInterval is the least time between the end of one fetch and the
	// start of another that an unknown kid asks for: tokens must not be able to
	// make us flood the issuer.
	keyDemandInterval = 10 * time.Second
	// Failed fetches are tried again after minKeyRetry, then twice that, and so
	// on up to maxKeyRetry.
	minKeyRetry = time.Second
	maxKeyRetry = time.Minute
)

// A KeyURLSource is a KeyFeed over https.
type KeyURLSource struct {
	keysInForce
	location string // for requests
	name     string // for logs and errors: without the query
	client   *http.Client
	logger   *slog.Logger
	maxAge   time.Duration
	strict   bool
	stop     context.CancelFunc
	running  sync.WaitGroup
	ended    chan struct{} // closed when fetching has ended
	demand   chan struct{} // holds at most one request to fetch now
	renewed  chan struct{} // holds at most one note that a fetch has succeeded

	// Guarded by keysInForce.mu.
	fetching bool
	fetched  chan struct{} // closed when the fetch under way, or else the next, ends
	last     time.Time     // when the last fetch ended
	next     time.Time     // when the next is due
	failure  error         // why the last one failed; nil if it did not
	good     uint64        // fetches that succeeded
	broken   uint64        // fetches that failed
	failed   uint64        // fetches that failed since one succeeded
	fresh    time.Time     // when the last one succeeded; zero: none has
}

// KeyURL fetches the JSON Web Key Set (see ParseKeySet) at an https URL, and
// again as often as the answer's Cache-Control max-age or, without one, Expires
// says (RFC 9111 section 4.2.1): within a minute and an hour, no-store and no-cache
// after a minute, and after 5 minutes where nothing is said; in any case after
// half of what KeyMaxAge sets. A kid that the set does not have brings the next
// fetch forward, but at most one in 10 seconds.
//
// KeyURL does not wait for the first fetch. Until one succeeds, Key refuses with
// KeysUnavailable; when later ones fail, they are tried again, after a second and
// then ever less often up to once a minute, and the last good set serves on, for
// ever or with KeyStrict until KeyMaxAge. An outage is logged when it begins, when
// the keys become too old, once an hour from then on, and when it ends. Redirects
// are not followed. Close releases it.
func KeyURL(location string, opts ...KeyOption) (*KeyURLSource, error) {
	parsed, err := url.Parse(location)
	if err != nil {
		return nil, errors.New("key set: the URL is not well-formed")
	}
	name := url.URL{Scheme: parsed.Scheme, Host: parsed.Host, Path: parsed.Path}
	switch {
	case parsed.Scheme != "https" || parsed.Host == "":
		return nil, fmt.Errorf("key set: %s: only https URLs are fetched", name.String())
	case parsed.User != nil:
		return nil, fmt.Errorf("key set: %s: the URL must not have a user or password", name.String())
	}
	o := newKeyOptions(opts)
	if o.maxAge < time.Second {
		return nil, fmt.Errorf("key set: %s: the keys would be too old after %v: allow a second or more", name.String(), o.maxAge)
	}
	client, err := o.httpClient()
	if err != nil {
		return nil, fmt.Errorf("key set: %s: %w", name.String(), err)
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &KeyURLSource{
		keysInForce: keysInForce{changed: make(chan struct{})},
		location:    location,
		name:        name.String(),
		client:      client,
		logger:      o.logger,
		maxAge:      o.maxAge,
		strict:      o.strict,
		stop:        stop,
		ended:       make(chan struct{}),
		demand:      make(chan struct{}, 1),
		renewed:     make(chan struct{}, 1),
		fetching:    true,
		fetched:     make(chan struct{}),
	}
	s.running.Go(func() { s.follow(ctx) })
	s.running.Go(func() { s.grow(ctx) })
	return s, nil
}

// Close ends the following, cuts a fetch short, and waits until both have ended.
func (s *KeyURLSource) Close() error {
	s.stop()
	s.running.Wait()
	return nil
}

// Key returns the key called kid. Where the set in force does not have it, Key
// waits for one fetch, if one is under way or due, until ctx ends. It refuses
// with TokenKeyUnknown when a set that was fetched for it lacks the key, and
// with KeysUnavailable, and when to try again, where the last fetch failed or
// was too short a time ago for another: the key may be newer than the set.
func (s *KeyURLSource) Key(ctx context.Context, kid string) (Key, error) {
	key, fetched, err := s.find(kid, false)
	if fetched == nil {
		return key, err
	}
	select {
	case <-fetched:
		key, _, err = s.find(kid, true)
		return key, err
	case <-s.ended:
		return Key{}, Refusef(KeysUnavailable, "%s: the key source is closed", s.name)
	case <-ctx.Done():
		return Key{}, Refusef(KeysUnavailable, "%s: waiting for the key set: %w", s.name, ctx.Err())
	}
}

// find looks the key up in the set in force. Where it is not there and a fetch
// may bring it, find asks for one, and fetched is closed when that has ended. The
// answer is final when the caller has waited for a fetch.
func (s *KeyURLSource) find(kid string, waited bool) (key Key, fetched <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.set != nil && s.withheld == nil && s.set.Has(kid) {
		key, err = s.set.Key(context.Background(), kid)
		return key, nil, err
	}
	switch {
	case s.fetching:
		fetched = s.fetched
	case time.Since(s.last) >= keyDemandInterval:
		select {
		case s.demand <- struct{}{}:
		default:
		}
		fetched = s.fetched
	}
	switch wait := max(time.Until(s.next), minKeyRetry); {
	case s.failure != nil:
		return Key{}, fetched, Refusef(KeysUnavailable, "%s: key %.100q: the last fetch failed: %w", s.name, kid, s.failure).After(wait)
	case s.set == nil:
		return Key{}, fetched, Refusef(KeysUnavailable, "%s: key %.100q: the first fetch has not ended", s.name, kid).After(wait)
	case s.withheld != nil:
		return Key{}, fetched, s.withheld.After(wait)
	}
	if !waited && fetched == nil {
		rest := max(keyDemandInterval-time.Since(s.last), minKeyRetry)
		return Key{}, nil, Refusef(KeysUnavailable, "%s: the key set had no key %.100q a moment ago, and is not fetched again so soon", s.name, kid).After(rest)
	}
	return Key{}, fetched, Refusef(TokenKeyUnknown, "%s: the key set has no key %.100q", s.name, kid)
}

// follow fetches, waits until the next fetch is due or asked for, and so on
// until ctx ends.
func (s *KeyURLSource) follow(ctx context.Context) {
	defer close(s.ended)
	retry := minKeyRetry
	for { // the first fetch is under way from the start
		set, wait, err := s.fetch(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			wait, retry = retry, min(2*retry, maxKeyRetry)
		} else {
			wait, retry = min(wait, s.maxAge/2), minKeyRetry
		}
		s.finish(set, wait, err)
		if !s.pause(ctx, wait) {
			return
		}
		s.begin()
	}
}

// pause waits for the time given, or a demand, and returns false when ctx ends.
func (s *KeyURLSource) pause(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.demand:
	case <-ctx.Done():
		return false
	}
	return true
}

// begin marks a fetch as under way; from then on it answers every demand.
func (s *KeyURLSource) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fetching = true
	select {
	case <-s.demand:
	default:
	}
}

// finish takes up the outcome of a fetch, wakes those who wait for it, and logs
// where an outage begins or ends.
func (s *KeyURLSource) finish(set *KeySet, wait time.Duration, err error) {
	changed, before := s.note(set, wait, err)
	switch {
	case err != nil && before == 0:
		text := "token keys not fetched: the last good ones, if any, serve on"
		if s.strict {
			text = "token keys not fetched: the last good ones, if any, serve until they are too old"
		}
		s.logger.Error(text, "url", s.name, "error", err, "retry", wait)
	case err == nil && (changed || before > 0):
		s.logger.Info("token keys fetched", "url", s.name, "kids", set.IDs(), "after_failures", before)
	}
}

// note returns whether another set is in force, and how many fetches had failed
// since one succeeded.
func (s *KeyURLSource) note(set *KeySet, wait time.Duration, err error) (changed bool, before uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = time.Now()
	s.next = s.last.Add(wait)
	s.failure = err
	before = s.failed
	if err != nil {
		s.broken++
		s.failed++
	} else {
		s.good++
		s.failed = 0
		s.fresh = s.last
		changed = s.put(set)
		select {
		case s.renewed <- struct{}{}:
		default:
		}
	}
	s.fetching = false
	close(s.fetched)
	s.fetched = make(chan struct{})
	return changed, before
}

// Reload fetches the set now, however fresh it is, and says why it could not. It
// waits for that until ctx ends.
func (s *KeyURLSource) Reload(ctx context.Context) error {
	s.mu.Lock()
	until := s.good + s.broken + 1
	if s.fetching {
		until++ // what is under way may have begun before there was anything new
	}
	s.mu.Unlock()
	select {
	case s.demand <- struct{}{}:
	default:
	}
	for {
		s.mu.Lock()
		done, fetched, failure := s.good+s.broken >= until, s.fetched, s.failure
		s.mu.Unlock()
		switch {
		case done && failure != nil:
			return fmt.Errorf("key set: %s: %w", s.name, failure)
		case done:
			return nil
		}
		select {
		case <-fetched:
		case <-s.ended:
			return fmt.Errorf("key set: %s: the key source is closed", s.name)
		case <-ctx.Done():
			return fmt.Errorf("key set: %s: waiting for it: %w", s.name, ctx.Err())
		}
	}
}
