package main

import (
	"context"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"securechat/auth"
	"securechat/cmd/chatd/internal/files"
)

// A publisher is a token issuer that publishes its key set over https.
type publisher struct {
	w        *town
	endpoint *httptest.Server

	mu     sync.Mutex
	keys   []byte
	served time.Time // when the set was first served; zero: not yet
}

// newPublisher starts the endpoint and a town that takes its keys from there.
func newPublisher(t *testing.T) *publisher {
	t.Helper()
	p := &publisher{}
	p.endpoint = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		_, _ = w.Write(p.keys) // the server reports what it lacks
		if p.served.IsZero() {
			p.served = time.Now()
		}
	}))
	t.Cleanup(p.endpoint.Close)
	roots := filepath.Join(t.TempDir(), "jwks-ca.crt")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.endpoint.Certificate().Raw})
	if err := (files.File{Path: roots, Text: text, Mode: files.Public}).Replace(); err != nil {
		t.Fatal(err)
	}
	p.mu.Lock() // the first fetch waits for the keys, which the town makes
	defer p.mu.Unlock()
	p.w = newTown(t, "--jwks", p.endpoint.URL, "--jwks-ca", roots)
	p.publish(t, p.w.signers[:]...)
	return p
}

func (p *publisher) town(time.Duration) *town { return p.w }

// publish is called with p.mu held.
func (p *publisher) publish(t *testing.T, signers ...*auth.Signer) {
	t.Helper()
	keys, err := auth.MarshalKeySet(signers...)
	if err != nil {
		t.Fatal(err)
	}
	p.keys, p.served = keys, time.Time{}
}

// retire takes the second key out of the set, and has a token of a key that is
// in none ask for the next fetch, which comes 10 s after the one before at the
// soonest. The event is that fetch.
func (p *publisher) retire(ctx context.Context, t *testing.T, _ *crowd, _ time.Time) func(auth.Session) time.Time {
	stranger, err := auth.NewSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	p.publish(t, p.w.signers[0])
	p.mu.Unlock()
	asker := p.w.citizen("asker", p.w.roots[0], stranger)
	conn, token := asker.dial(), asker.token(time.Now().Add(time.Hour))
	var served time.Time
	if err := within(patience, func() error {
		_, refused := openMember(ctx, conn, token, 0)
		p.mu.Lock()
		defer p.mu.Unlock()
		if served = p.served; served.IsZero() {
			return fmt.Errorf("the keys have not been fetched: %w", refused)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return always(served)
}
