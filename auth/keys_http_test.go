package auth

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const testKeyURL = "https://issuer.test/jwks.json?secret=hush"

// A fakeIssuer answers without a network, so that it fits into a synctest
// bubble.
type fakeIssuer struct {
	mu       sync.Mutex
	status   int
	jwks     string
	header   http.Header
	delay    time.Duration
	requests int
}

func (i *fakeIssuer) set(edit func(*fakeIssuer)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	edit(i)
}

func (i *fakeIssuer) served() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.requests
}

func (i *fakeIssuer) RoundTrip(request *http.Request) (*http.Response, error) {
	i.mu.Lock()
	i.requests++
	delay, status, header, jwks := i.delay, i.status, i.header, i.jwks // as they are when it is asked
	i.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-request.Context().Done():
		return nil, request.Context().Err()
	}
	return &http.Response{
		StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(jwks)), Request: request,
	}, nil
}

// followed runs test in a bubble, with a feed over an issuer that has the key
// "old".
func followed(t *testing.T, prepare func(*fakeIssuer), test func(t *testing.T, issuer *fakeIssuer, feed *KeyURLSource, log reports), opts ...KeyOption) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		issuer := &fakeIssuer{status: http.StatusOK, jwks: setOf(jwkOf(newEd25519Signer(t), "old", nil)), header: http.Header{}}
		prepare(issuer)
		log := make(reports, 1000)
		opts = append(opts, KeyClient(&http.Client{Transport: issuer}), KeyLogger(log.logger()))
		feed, err := KeyURL(testKeyURL, opts...)
		if err != nil {
			t.Fatal(err)
		}
		defer feed.Close()
		test(t, issuer, feed, log)
	})
}

func asItIs(*fakeIssuer) {}

// pass lets fake time go by.
func pass(d time.Duration) { <-time.After(d) }

func wantKey(t *testing.T, feed KeySource, kid string) {
	t.Helper()
	if _, err := feed.Key(t.Context(), kid); err != nil {
		t.Errorf("key %s: %v", kid, err)
	}
}

func wantNoKey(t *testing.T, feed KeySource, kid string, want Reason) *Refusal {
	t.Helper()
	key, err := feed.Key(t.Context(), kid)
	var refusal *Refusal
	if !errors.As(err, &refusal) || refusal.Reason != want {
		t.Fatalf("key %s: %+v, %v; want %s", kid, key, err, want)
	}
	if strings.Contains(err.Error(), "hush") {
		t.Errorf("the error shows the URL's query: %v", err)
	}
	return refusal
}

func TestFirstFetchIsWaitedFor(t *testing.T) {
	slow := func(i *fakeIssuer) { i.delay = time.Second }
	followed(t, slow, func(t *testing.T, issuer *fakeIssuer, feed *KeyURLSource, _ reports) {
		synctest.Wait()
		if feed.Has("old") {
			t.Error("the key is there before it was fetched")
		}
		var callers sync.WaitGroup
		for range 10 {
			callers.Go(func() { wantKey(t, feed, "old") })
		}
		callers.Wait()
		if refusal := wantNoKey(t, feed, "none", KeysUnavailable); refusal.Retry <= 0 || refusal.Retry > keyDemandInterval {
			t.Errorf("retry after %v, want what is left of %v", refusal.Retry, keyDemandInterval)
		}
		pass(2 * time.Second)
		if got := issuer.served(); got != 1 {
			t.Errorf("%d requests", got)
		}
	})
}

// An issuer that comes up after us is found without being asked for.
func TestIssuerIsDownAtStart(t *testing.T) {
	down := func(i *fakeIssuer) { i.status = http.StatusServiceUnavailable }
	followed(t, down, func(t *testing.T, issuer *fakeIssuer, feed *KeyURLSource, log reports) {
		changed := feed.Changed()
		if refusal := wantNoKey(t, feed, "old", KeysUnavailable); refusal.Retry < time.Second || refusal.Retry > time.Minute {
			t.Errorf("retry after %v", refusal.Retry)
		}
		if entry := <-log; !strings.Contains(entry, "503") || strings.Contains(entry, "hush") {
			t.Errorf("reported as %s", entry)
		}
		if feed.Has("old") || feed.State().Broken != 1 {
			t.Errorf("%d failures", feed.State().Broken)
		}
		issuer.set(func(i *fakeIssuer) { i.status = http.StatusOK })
		within(t, minKeyRetry+1, changed, "first success")
		wantKey(t, feed, "old")
	})
}

func TestSlowIssuer(t *testing.T) {
	hang := func(i *fakeIssuer) { i.delay = time.Hour }
	followed(t, hang, func(t *testing.T, _ *fakeIssuer, feed *KeyURLSource, log reports) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		_, err := feed.Key(ctx, "old")
		if reason, _ := ReasonOf(err); reason != KeysUnavailable || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("waited %v, though the context ends in a second", took)
		}
		// One that waits on has the fetch's own end.
		wantNoKey(t, feed, "old", KeysUnavailable)
		if took := time.Since(began); took != keyFetchTimeout {
			t.Errorf("the fetch took %v", took)
		}
		<-log
	})
}

// Tokens of unknown kids must not make us flood the issuer.
func TestUnknownKeysAreRateLimited(t *testing.T) {
	followed(t, asItIs, func(t *testing.T, issuer *fakeIssuer, feed *KeyURLSource, _ reports) {
		wantKey(t, feed, "old")
		flood := func(want Reason) {
			var callers sync.WaitGroup
			for range 50 {
				callers.Go(func() {
					_, err := feed.Key(t.Context(), rotatedKid)
					var refusal *Refusal
					if !errors.As(err, &refusal) || refusal.Reason != want && refusal.Reason != KeysUnavailable || (refusal.Retry > 0) != (refusal.Reason == KeysUnavailable) {
						t.Errorf("got %v, want %s", err, want)
					}
				})
			}
			callers.Wait()
		}
		for _, test := range []struct {
			after time.Duration
			want  int
			says  Reason // final at most when a fetch was waited for
		}{
			{0, 1, KeysUnavailable}, {keyDemandInterval - 1, 1, KeysUnavailable}, {1, 2, TokenKeyUnknown},
			{0, 2, KeysUnavailable}, {keyDemandInterval - 1, 2, KeysUnavailable}, {1, 3, TokenKeyUnknown},
		} {
			pass(test.after)
			flood(test.says)
			synctest.Wait()
			if got := issuer.served(); got != test.want {
				t.Fatalf("%d requests, want %d", got, test.want)
			}
		}
	})
}

const rotatedKid = "new"

func TestRotationIsNoticedByAnUnknownKey(t *testing.T) {
	followed(t, asItIs, func(t *testing.T, issuer *fakeIssuer, feed *KeyURLSource, _ reports) {
		wantKey(t, feed, "old")
		changed := feed.Changed()
		issuer.set(func(i *fakeIssuer) { i.jwks = setOf(jwkOf(newEd25519Signer(t), rotatedKid, nil)) })
		pass(keyDemandInterval)
		wantKey(t, feed, rotatedKid)
		within(t, time.Nanosecond, changed, "change")
		if feed.Has("old") {
			t.Error("the old key is still in force")
		}
	})
}

func TestKeysAreFetchedAgainWhenStale(t *testing.T) {
	fresh := func(i *fakeIssuer) { i.header.Set("Cache-Control", "public, max-age=120") }
	followed(t, fresh, func(t *testing.T, issuer *fakeIssuer, feed *KeyURLSource, _ reports) {
		wantKey(t, feed, "old")
		changed := feed.Changed()
		issuer.set(func(i *fakeIssuer) { i.jwks = setOf(jwkOf(newEd25519Signer(t), rotatedKid, nil)) })
		notWithin(t, 120*time.Second-1, changed, "fetched while fresh")
		within(t, 2, changed, "change")
		if feed.Has("old") || !feed.Has(rotatedKid) {
			t.Error("the new key is not in force")
		}
	})
}

// In an outage the last good keys serve on; what is not among them cannot be
// known, so the caller may try again; and the issuer is not hammered.
func TestOutage(t *testing.T) {
	followed(t, asItIs, func(t *testing.T, issuer *fakeIssuer, feed *KeyURLSource, _ reports) {
		wantKey(t, feed, "old")
		issuer.set(func(i *fakeIssuer) { i.status = http.StatusInternalServerError })
		pass(defaultKeyFreshness)
		synctest.Wait()
		before := issuer.served()
		pass(time.Hour)
		wantKey(t, feed, "old")
		if tries := issuer.served() - before; tries < 58 || tries > 70 {
			t.Errorf("%d tries in an hour", tries)
		}
		wantNoKey(t, feed, rotatedKid, KeysUnavailable)
		issuer.set(func(i *fakeIssuer) { i.status = http.StatusOK })
		pass(maxKeyRetry)
		pass(keyDemandInterval) // after which an unknown kid may bring a fetch
		wantNoKey(t, feed, rotatedKid, TokenKeyUnknown)
		wantKey(t, feed, "old")
	})
}

func TestCloseCutsAFetchShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := &fakeIssuer{delay: time.Hour}
		feed, err := KeyURL(testKeyURL, KeyClient(&http.Client{Transport: issuer}), KeyLogger(slog.New(slog.DiscardHandler)))
		if err != nil {
			t.Fatal(err)
		}
		answer := make(chan error)
		go func() {
			_, err := feed.Key(context.Background(), "old")
			answer <- err
		}()
		synctest.Wait()
		began := time.Now()
		for range 2 {
			if err := feed.Close(); err != nil {
				t.Error(err)
			}
		}
		if reason, _ := ReasonOf(<-answer); reason != KeysUnavailable {
			t.Errorf("a caller that waited got %v", reason)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("closing took %v", took)
		}
	})
}
