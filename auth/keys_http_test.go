package auth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
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
	hang     bool
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
	defer i.mu.Unlock()
	i.requests++
	if i.hang {
		i.mu.Unlock()
		<-request.Context().Done()
		i.mu.Lock()
		return nil, request.Context().Err()
	}
	return &http.Response{
		StatusCode: i.status, Header: i.header, Body: io.NopCloser(strings.NewReader(i.jwks)), Request: request,
	}, nil
}

// followed runs test in a bubble, with a feed over an issuer that has the key
// "old".
func followed(t *testing.T, prepare func(*fakeIssuer), test func(t *testing.T, issuer *fakeIssuer, feed *KeyURLSource, log reports)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		issuer := &fakeIssuer{status: http.StatusOK, jwks: setOf(jwkOf(newEd25519Signer(t), "old", nil)), header: http.Header{}}
		prepare(issuer)
		log := make(reports, 1000)
		feed, err := KeyURL(testKeyURL, KeyClient(&http.Client{Transport: issuer}), KeyLogger(log.logger()))
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

func TestKeyURLsRefused(t *testing.T) {
	for name, location := range map[string]string{
		"http":                "http://issuer.test/jwks.json",
		"http on loopback":    "http://127.0.0.1/jwks.json",
		"file":                "file:///etc/jwks.json",
		"no host":             "https:///jwks.json",
		"user and password":   "https://user:hush@issuer.test/jwks.json",
		"not a URL":           "https://issuer.test:hush/",
		"a control character": "https://issuer.test/hush\x7f",
	} {
		t.Run(name, func(t *testing.T) {
			feed, err := Keys(location)
			if err == nil {
				feed.Close()
				t.Fatal("accepted")
			}
			if strings.Contains(err.Error(), "hush") {
				t.Errorf("the error shows a secret: %v", err)
			}
		})
	}
	for name, opts := range map[string][]KeyOption{
		"a client that does not verify": {KeyClient(&http.Client{Transport: &http.Transport{
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // to be refused
		}})},
		"a client of TLS 1.0": {KeyClient(&http.Client{Transport: &http.Transport{
			TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS10}, //nolint:gosec // to be refused
		}})},
		"roots for a given client": {KeyClient(&http.Client{}), KeyRoots(x509.NewCertPool())},
	} {
		t.Run(name, func(t *testing.T) {
			feed, err := KeyURL(testKeyURL, opts...)
			if err == nil {
				feed.Close()
				t.Fatal("accepted")
			}
		})
	}
}

func TestFirstFetchIsWaitedFor(t *testing.T) {
	followed(t, asItIs, func(t *testing.T, issuer *fakeIssuer, feed *KeyURLSource, _ reports) {
		wantKey(t, feed, "old")
		wantNoKey(t, feed, "none", TokenKeyUnknown)
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
		if feed.Has("old") || feed.Failures() != 1 {
			t.Errorf("%d failures", feed.Failures())
		}
		issuer.set(func(i *fakeIssuer) { i.status = http.StatusOK })
		within(t, minKeyRetry+1, changed, "first success")
		wantKey(t, feed, "old")
	})
}

func TestSlowIssuer(t *testing.T) {
	hang := func(i *fakeIssuer) { i.hang = true }
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
		flood := func() {
			var callers sync.WaitGroup
			for range 50 {
				callers.Go(func() {
					_, err := feed.Key(t.Context(), rotatedKid)
					if reason, _ := ReasonOf(err); reason != TokenKeyUnknown {
						t.Errorf("got %v", err)
					}
				})
			}
			callers.Wait()
		}
		for _, test := range []struct {
			after time.Duration
			want  int
		}{{0, 1}, {keyDemandInterval - 1, 1}, {1, 2}, {0, 2}, {keyDemandInterval - 1, 2}, {1, 3}} {
			pass(test.after)
			flood()
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
		wantNoKey(t, feed, rotatedKid, TokenKeyUnknown)
		wantKey(t, feed, "old")
	})
}

func TestCloseCutsAFetchShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := &fakeIssuer{hang: true}
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

func TestFreshness(t *testing.T) {
	for _, test := range []struct {
		cacheControl, age string
		want              time.Duration
	}{
		{"", "", defaultKeyFreshness},
		{"public", "", defaultKeyFreshness},
		{"s-maxage=600", "", defaultKeyFreshness},
		{"max-age=600", "", 10 * time.Minute},
		{"Public, MAX-AGE=600, immutable", "", 10 * time.Minute},
		{`max-age="600"`, "", 10 * time.Minute},
		{"max-age=600", "400", 200 * time.Second},
		{"max-age=600", "900", minKeyFreshness},
		{"max-age=600", "soon", 10 * time.Minute},
		{"max-age=59", "", minKeyFreshness},
		{"max-age=0", "", minKeyFreshness},
		{"max-age=-1", "", minKeyFreshness},
		{"max-age", "", minKeyFreshness},
		{"max-age=1e3", "", minKeyFreshness},
		{"max-age=3601", "", maxKeyFreshness},
		{"max-age=99999999999999999999", "", maxKeyFreshness},
		{"max-age=9223372036854775807", "", maxKeyFreshness},
		{"no-cache, max-age=600", "", minKeyFreshness},
		{"max-age=600, no-store", "", minKeyFreshness},
	} {
		header := http.Header{}
		header.Set("Cache-Control", test.cacheControl)
		header.Set("Age", test.age)
		if got := freshness(header); got != test.want {
			t.Errorf("%q, Age %q: %v, want %v", test.cacheControl, test.age, got, test.want)
		}
	}
}
