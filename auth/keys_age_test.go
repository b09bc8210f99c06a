package auth

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const testMaxAge = 30 * time.Minute

func TestKeyMaxAgeRefused(t *testing.T) {
	for _, age := range []time.Duration{-time.Hour, 0, time.Second - 1} {
		feed, err := KeyURL(testKeyURL, KeyMaxAge(age))
		if err == nil {
			feed.Close()
			t.Errorf("%v was accepted", age)
		}
	}
}

// goDown has the issuer fail from its next answer on.
func goDown(i *fakeIssuer) { i.status = http.StatusServiceUnavailable }

func goUp(i *fakeIssuer) { i.status = http.StatusOK }

// want takes what the log has, and wants words in it so many times.
func (r reports) want(t *testing.T, counts map[string]int) {
	t.Helper()
	synctest.Wait()
	var text strings.Builder
	for len(r) > 0 {
		text.WriteString(<-r)
	}
	for words, n := range counts {
		if got := strings.Count(text.String(), words); got != n {
			t.Errorf("%q was logged %d times, want %d:\n%s", words, got, n, text.String())
		}
	}
	if strings.Contains(text.String(), "hush") {
		t.Errorf("the log shows the URL's query:\n%s", text.String())
	}
}

func TestStrictKeysAreRefusedWhenTooOld(t *testing.T) {
	followed(t, asItIs, func(t *testing.T, issuer *fakeIssuer, feed *KeyURLSource, log reports) {
		wantKey(t, feed, "old")
		key, err := feed.Key(t.Context(), "old")
		if err != nil {
			t.Fatal(err)
		}
		verifier, err := NewVerifier(VerifierConfig{Issuers: []Issuer{{Name: "i", Audience: "a", Keys: feed}}})
		if err != nil {
			t.Fatal(err)
		}
		issuer.set(goDown)
		began := feed.State()
		if want := began.Loaded.Add(testMaxAge); !began.Expires.Equal(want) {
			t.Errorf("the keys expire at %v, want %v", began.Expires, want)
		}
		changed := feed.Changed()
		pass(testMaxAge - 1)
		synctest.Wait()
		if wantKey(t, feed, "old"); verifier.keyStands("i", "old", key.Public) != nil || !feed.Has("old") {
			t.Error("the keys are not in force before they are too old")
		}
		log.want(t, map[string]int{"token keys not fetched": 1, "serve until they are too old": 1, "serve on": 0})

		version := verifier.version()
		within(t, 2, changed, "end of the keys")
		synctest.Wait()
		if refusal := wantNoKey(t, feed, "old", KeysUnavailable); refusal.Retry <= 0 || refusal.Retry > maxKeyRetry {
			t.Errorf("retry after %v, want %v at most", refusal.Retry, maxKeyRetry)
		}
		refusal := verifier.keyStands("i", "old", key.Public)
		if refusal == nil || refusal.Reason != KeysUnavailable || refusal.Retry <= 0 || !strings.Contains(refusal.Error(), "503") {
			t.Errorf("the key of a live stream: %v, want KEYS_UNAVAILABLE, when to try again, and why", refusal)
		}
		if verifier.version() == version || feed.Has("old") {
			t.Error("the keys are still in force")
		}
		pass(3*time.Hour + time.Minute)
		log.want(t, map[string]int{"token keys not fetched": 0, "too old: their tokens are refused": 4}) // once, and a reminder an hour

		changed = feed.Changed()
		issuer.set(goUp)
		within(t, maxKeyRetry+1, changed, "return of the keys")
		if wantKey(t, feed, "old"); verifier.keyStands("i", "old", key.Public) != nil || !feed.Has("old") {
			t.Error("the keys are not in force again")
		}
		log.want(t, map[string]int{"token keys fetched": 1})
		// The next outage is like the first.
		issuer.set(goDown)
		within(t, testMaxAge+1, feed.Changed(), "end of the keys")
		wantNoKey(t, feed, "old", KeysUnavailable)
	}, KeyMaxAge(testMaxAge), KeyStrict())
}

func TestKeysServeOnWhenTooOld(t *testing.T) {
	followed(t, asItIs, func(t *testing.T, issuer *fakeIssuer, feed *KeyURLSource, log reports) {
		wantKey(t, feed, "old")
		issuer.set(goDown)
		changed := feed.Changed()
		notWithin(t, testMaxAge+90*time.Minute, changed, "a change")
		wantKey(t, feed, "old")
		log.want(t, map[string]int{"token keys not fetched: the last good ones, if any, serve on": 1, "too old: they serve on": 2})
		if state := feed.State(); state.Good != 1 || state.Broken < 100 || time.Since(state.Expires) < 89*time.Minute {
			t.Errorf("the state is %+v", state)
		}
		issuer.set(goUp)
		pass(maxKeyRetry + 1)
		log.want(t, map[string]int{"token keys fetched": 1})
		if state := feed.State(); state.Good != 2 || time.Since(state.Loaded) > maxKeyRetry+1 {
			t.Errorf("the state is %+v", state)
		}
	}, KeyMaxAge(testMaxAge))
}

// An endpoint that hangs is an outage too, and one that says that its keys are
// fresh for longer than they may serve is asked in time.
func TestKeysGrowOldWhileAFetchHangs(t *testing.T) {
	const maxAge = 4 * time.Second
	followed(t, asItIs, func(t *testing.T, issuer *fakeIssuer, feed *KeyURLSource, _ reports) {
		wantKey(t, feed, "old")
		notWithin(t, time.Hour, feed.Changed(), "keys of an issuer that answers are too old")
		issuer.set(func(i *fakeIssuer) { i.delay = time.Hour })
		within(t, maxAge+1, feed.Changed(), "end of the keys")
		wantNoKey(t, feed, "old", KeysUnavailable)
	}, KeyMaxAge(maxAge), KeyStrict())
}

// A reload before the first fetch has begun waits for that, and has another.
func TestReloadAtTheStart(t *testing.T) {
	followed(t, asItIs, func(t *testing.T, issuer *fakeIssuer, feed *KeyURLSource, _ reports) {
		ctx, cancel := context.WithTimeout(t.Context(), defaultKeyFreshness/2)
		defer cancel()
		if err := feed.Reload(ctx); err != nil || issuer.served() != 2 {
			t.Errorf("%v after %d fetches, want none after 2", err, issuer.served())
		}
	})
}

func TestReloadFetchesAtOnce(t *testing.T) {
	followed(t, asItIs, func(t *testing.T, issuer *fakeIssuer, feed *KeyURLSource, _ reports) {
		wantKey(t, feed, "old")
		issuer.set(func(i *fakeIssuer) { i.jwks = setOf(jwkOf(newEd25519Signer(t), rotatedKid, nil)) })
		began := time.Now()
		if err := feed.Reload(t.Context()); err != nil || !feed.Has(rotatedKid) || time.Since(began) != 0 {
			t.Errorf("after %v: %v, want the new key at once", time.Since(began), err)
		}
		issuer.set(goDown)
		if err := feed.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "503") || strings.Contains(err.Error(), "hush") {
			t.Errorf("of an issuer that is down: %v", err)
		}
		issuer.set(goUp)
		issuer.set(func(i *fakeIssuer) { i.delay = time.Second })
		if err := feed.Reload(t.Context()); err != nil {
			t.Error(err)
		}
		// A fetch that is under way may have begun before the change.
		go func() { _ = feed.Reload(context.Background()) }()
		pass(time.Second / 2)
		issuer.set(func(i *fakeIssuer) { i.jwks = setOf(jwkOf(newEd25519Signer(t), "third", nil)) })
		before := issuer.served()
		if err := feed.Reload(t.Context()); err != nil || !feed.Has("third") || issuer.served() != before+1 {
			t.Errorf("beside a fetch under way: %v, %d more requests", err, issuer.served()-before)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		if err := feed.Reload(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("of an issuer that is slow: %v", err)
		}
		feed.Close()
		if err := feed.Reload(t.Context()); err == nil {
			t.Error("a feed that is closed was reloaded")
		}
	})
}
