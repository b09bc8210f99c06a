package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"securechat/auth"
	"securechat/certs"
)

// Whatever an identifier is, either it is revoked afterwards and nothing else is,
// or the file is as it was.
func FuzzRevoke(f *testing.F) {
	for _, seed := range []string{"3f2a9c", "a b", `"quoted"`, "x # y", "before", "a before 2026-01-01T00:00:00Z", "#", "\n", "jti\nsubject alice", "\xff", "\u00a0x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, jti string) {
		path := filepath.Join(t.TempDir(), "list.txt")
		const before = "jti other # ours"
		if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := revokedToken(jti)
		if err != nil {
			return
		}
		refused := r.appendTo(path)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if refused != nil {
			if string(text) != before {
				t.Fatalf("refused with %v, and the file is %q", refused, text)
			}
			return
		}
		parsed, err := certs.ParseRevocations(text)
		if err != nil || !parsed.Token(jti) || !parsed.Token("other") || parsed.Subject("alice", time.Now()) {
			t.Fatalf("the file is %q: %v", text, err)
		}
	})
}

// "now", and a time between two seconds, spare what is issued from the next second on,
// and nothing issued before.
func TestRevokeBeforeNow(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 500, time.UTC)
	for _, before := range []string{"now", "2026-03-04T05:06:07.0000005Z"} {
		t.Run(before, func(t *testing.T) { wantParted(t, before, now) })
	}
}

func wantParted(t *testing.T, before string, now time.Time) {
	r, err := revokedUser("alice", before, now)
	if err != nil || r.line != "subject alice before 2026-03-04T05:06:08Z" {
		t.Fatalf("the line is %q, %v", r.line, err)
	}
	parsed, err := certs.ParseRevocations([]byte(r.line))
	if err != nil || !parsed.Subject("alice", now.Truncate(time.Second)) || parsed.Subject("alice", now.Truncate(time.Second).Add(time.Second)) {
		t.Errorf("it does not part the tokens at now: %v", err)
	}
}

// A revocation is in force within a second, however many follow it.
func TestARevocationAmongManyIsNotPutOff(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	alice, bob := w.citizen("alice", w.roots[0], w.signers[0]), w.citizen("bob", w.roots[0], w.signers[0])
	expires := time.Now().Add(time.Hour)
	hers, his := openPlain(ctx, t, alice.dial(), alice.token(expires)), openPlain(ctx, t, bob.dial(), bob.token(expires))

	stop := make(chan struct{})
	var revoking sync.WaitGroup
	w.revoke("token", "token-of-alice")
	changed := time.Now()
	revoking.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			another, err := revokedToken(fmt.Sprintf("another-%d", i))
			if err := errors.Join(err, another.appendTo(w.revocations)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	_, err := hers.Recv()
	late := time.Since(changed)
	close(stop)
	revoking.Wait()
	if reason, _ := auth.ReasonOf(err); reason != auth.TokenRevoked {
		t.Errorf("her stream ended with %v, want TOKEN_REVOKED", err)
	}
	if late > promised() {
		t.Errorf("it ended %v after the revocation, want %v at most", late, promised())
	}
	wantAcknowledged(t, his, "undisturbed")
}
