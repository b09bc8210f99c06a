package auth_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"securechat/auth"
	"securechat/auth/authtest"
)

// An outage is an issuer's endpoint that answers until it is down.
type outage struct {
	jwks []byte
	down atomic.Bool
}

func (o *outage) RoundTrip(*http.Request) (*http.Response, error) {
	if o.down.Load() {
		return nil, errors.New("nobody is there")
	}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(o.jwks))}, nil
}

// worldInOutage has two issuers: alice's, whose keys are fetched and too old after
// maxAge, and bob's, whose keys are at hand.
func worldInOutage(t *testing.T, maxAge time.Duration, options ...auth.KeyOption) (w *world, endpoint *outage, keys *auth.KeyURLSource, alice, bob *authtest.User) {
	t.Helper()
	const fetched = "https://fetched.test"
	endpoint = &outage{}
	var signers [2]*auth.Signer
	var sets [2][]byte
	for i := range signers {
		var err error
		if signers[i], err = auth.NewSigningKey(); err != nil {
			t.Fatal(err)
		}
		if sets[i], err = signers[i].JWKS(); err != nil {
			t.Fatal(err)
		}
	}
	endpoint.jwks = sets[0]
	atHand, err := auth.ParseKeySet(sets[1])
	if err != nil {
		t.Fatal(err)
	}
	options = append(options, auth.KeyMaxAge(maxAge), auth.KeyClient(&http.Client{Transport: endpoint}), auth.KeyLogger(slog.New(slog.DiscardHandler)))
	if keys, err = auth.KeyURL(fetched+"/jwks.json", options...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = keys.Close() })
	verifier, err := auth.NewVerifier(auth.VerifierConfig{Issuers: []auth.Issuer{
		{Name: fetched, Audience: authtest.Audience, Keys: keys},
		{Name: authtest.Issuer, Audience: authtest.Audience, Keys: atHand},
	}})
	if err != nil {
		t.Fatal(err)
	}
	w = newWorld(t, floods, func(c *auth.Config) { c.Tokens = verifier })
	w.realm.Signer = signers[0]
	alice = w.realm.User("alice", func(c *auth.MintClaims) { c.Issuer = fetched })
	w.realm.Signer = signers[1]
	return w, endpoint, keys, alice, w.realm.User("bob")
}

// An outage of the issuer ends streams when its keys are too old, and only those
// that rest on them. When it is over, all is as before. The keys' age is elapsed time:
// a process that is stopped for half of it finds them too old without an outage.
func TestStreamsEndWhenTheirKeysAreTooOld(t *testing.T) {
	w, endpoint, keys, alice, bob := worldInOutage(t, 8*time.Second, auth.KeyStrict())
	ending{
		code: codes.Unavailable, reason: auth.KeysUnavailable,
		happens: func(*world, *authtest.User) {
			changed := keys.Changed()
			endpoint.down.Store(true)
			<-changed
		},
	}.run(w, alice, bob)
	_, err := say(patience(t), alice.Dial(w.address))
	wantRefusal(t, err, codes.Unavailable, auth.KeysUnavailable)
	endpoint.down.Store(false)
	if err := keys.Reload(patience(t)); err != nil {
		t.Fatal(err)
	}
	open(t, alice.Dial(w.address))
}

// Without KeyStrict, keys that are too old serve on, for streams old and new.
func TestStreamsOutliveKeysThatAreTooOld(t *testing.T) {
	w, endpoint, keys, alice, _ := worldInOutage(t, 2*time.Second)
	stream := open(t, alice.Dial(w.address))
	endpoint.down.Store(true)
	<-time.After(time.Until(keys.State().Expires) + 300*time.Millisecond)
	echoed(t, stream, "still here")
	open(t, alice.Dial(w.address))
}
