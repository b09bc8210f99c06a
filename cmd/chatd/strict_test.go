package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"regexp"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	"securechat/auth"
	"securechat/certs"
	chatpb "securechat/proto/chat"
)

// listedAuthority adds an authority to the town whose revocation list is due then,
// and has revoked nobody. It waits until the program has taken that up.
func (w *town) listedAuthority(due time.Time) (*certs.CA, error) {
	var shown atomic.Pointer[time.Time]
	clock := func() time.Time {
		if at := shown.Load(); at != nil {
			return *at
		}
		return time.Now()
	}
	ca, err := certs.NewCA(certs.CAOptions{Name: "listed", Clock: clock, Lifetime: 10 * 365 * 24 * time.Hour})
	if err != nil {
		return nil, err
	}
	long, err := parsedCRL(ca)
	if err != nil {
		return nil, err
	}
	signed := due.Add(-long.NextUpdate.Sub(long.ThisUpdate))
	shown.Store(&signed)
	err = ca.RenewCRL()
	shown.Store(nil)
	if err != nil {
		return nil, err
	}
	if short, err := parsedCRL(ca); err != nil || !short.NextUpdate.Equal(due) {
		return nil, errors.Join(err, errors.New("the list is due at another time"))
	}
	w.writeRoots(w.roots[0], ca)
	return ca, errors.Join(w.writeLists(ca, 2), w.tookUp("roots", 2))
}

// writeLists writes the lists of the town's authority and of another one, and waits
// until that has been taken up as the times-th.
func (w *town) writeLists(other *certs.CA, times int) error {
	ours, err := w.roots[0].CRL()
	if err != nil {
		return err
	}
	theirs, err := other.CRL()
	if err != nil {
		return err
	}
	w.write("crl.pem", slices.Concat(ours, theirs))
	return w.tookUp("crl", times)
}

// tookUp waits until a feed has been put in force for so many times.
func (w *town) tookUp(feed string, times int) error {
	return within(patience, func() error {
		loads := regexp.MustCompile(`(?m)^securechat_feed_loads_total\{feed="` + feed + `",.*result="ok"\} (\d+)$`)
		counts, err := w.counts(context.Background(), loads)
		if err == nil && counts[0] < times {
			err = errors.New(feed + " has not been taken up")
		}
		return err
	})
}

func parsedCRL(ca *certs.CA) (*x509.RevocationList, error) {
	text, err := ca.CRL()
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	return x509.ParseRevocationList(block.Bytes)
}

// With strict feeds, whose issuer's revocation list is past its next update is
// refused until there is a new one; with best effort they are served on.
func TestListsThatAreTooOld(t *testing.T) {
	for _, feeds := range []string{"strict", "best-effort"} {
		t.Run(feeds, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
			defer cancel()
			var w *town
			var listed *certs.CA
			var alice *citizen
			var conn *grpc.ClientConn
			expires := time.Now().Add(time.Hour)
			hers, due := inLife(t, 4*time.Second, func(due time.Time) (hers chatpb.Chat_ChatStreamClient, err error) {
				w = newTown(t, "--feeds", feeds)
				if listed, err = w.listedAuthority(due); err != nil {
					return nil, err
				}
				alice = w.citizen("alice", listed, w.signers[0])
				conn = alice.dial()
				if hers, err = admitted(ctx, conn, alice.token(expires)); err != nil {
					return nil, err
				}
				return hers, echoed(hers, "in time")
			})
			token := alice.token(expires)
			bob := w.citizen("bob", w.roots[0], w.signers[0])
			his := openPlain(ctx, t, bob.dial(), bob.token(expires))

			if feeds == "best-effort" {
				<-time.After(time.Until(due) + promised())
				wantAcknowledged(t, hers, "too old")
				if err := refusal(ctx, t, alice.dial(), token); err != nil {
					t.Errorf("a new stream: %v", err)
				}
				return
			}
			_, err := hers.Recv()
			late := time.Since(due)
			if reason, _ := auth.ReasonOf(err); reason != auth.CertificateRevoked {
				t.Fatalf("the stream ended with %v, want CERTIFICATE_REVOKED", err)
			}
			if late < 0 || late > promised() {
				t.Errorf("it ended %v after its list was due, want within %v", late, promised())
			}
			if err := refusal(ctx, t, conn, token); err == nil {
				t.Error("a new stream is let in")
			}
			if err := refusal(ctx, t, alice.dial(), token); err == nil {
				t.Error("a new connection is let in")
			}
			wantAcknowledged(t, his, "undisturbed")
			if err := errors.Join(listed.RenewCRL(), w.writeLists(listed, 3)); err != nil {
				t.Fatal(err)
			}
			if err := refusal(ctx, t, alice.dial(), token); err != nil {
				t.Errorf("with a new list: %v", err)
			}
		})
	}
}
