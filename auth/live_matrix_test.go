package auth_test

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"securechat/auth"
	"securechat/auth/authtest"
	"securechat/certs"
	chatpb "securechat/proto/chat"
)

// An ending is something that happens to the authority of alice and not to that
// of bob.
type ending struct {
	code   codes.Code
	reason auth.Reason
	// alice makes her where she is not as others.
	alice func(*world) *authtest.User
	// happens is called once her streams live, and returns when it has happened.
	happens func(*world, *authtest.User)
}

// Every ending, for a stream that sends, one that only listens and one whose
// client does not read.
func (e ending) test(t *testing.T) {
	t.Helper()
	w := newWorld(t, floods)
	alice := e.alice
	if alice == nil {
		alice = with(func(*auth.MintClaims) {})
	}
	e.run(w, alice(w), w.realm.User("bob"))
}

func (e ending) run(w *world, alice, bob *authtest.User) {
	t := w.t
	t.Helper()
	other := open(t, bob.Dial(w.address))
	conn := alice.Dial(w.address)
	sends, listens, stuck := open(t, conn), open(t, conn), open(t, alice.Dial(w.address))
	echoed(t, stuck, "flood")

	ended := make(chan error, 2)
	go func() { ended <- chatter(sends) }()
	go func() { ended <- drained(listens) }()
	<-time.After(250 * time.Millisecond) // by now they have been held against what holds before it happens
	e.happens(w, alice)
	began := time.Now()
	for range 2 {
		wantRefusal(t, <-ended, e.code, e.reason)
	}
	if late := time.Since(began); late > promised {
		t.Errorf("the streams that send and listen ended after %v, want %v at most", late, promised)
	}
	w.wantUsers("bob")
	if late := time.Since(began); late > promised {
		t.Errorf("the stream that is not read was let go after %v, want %v at most", late, promised)
	}
	wantRefusal(t, drained(stuck), e.code, e.reason)
	echoed(t, other, "undisturbed")
}

// chatter sends and receives in turn until the stream ends.
func chatter(stream chatpb.Chat_ChatStreamClient) error {
	for {
		if err := stream.Send(&chatpb.ChatMessage{Message: "on"}); err != nil {
			return drained(stream)
		}
		if _, err := stream.Recv(); err != nil {
			return err
		}
	}
}

// wantUsers waits until the live sessions are of these users alone.
func (w *world) wantUsers(names ...string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		sessions := w.guard.Sessions()
		same := len(sessions) == len(names)
		for i := 0; same && i < len(names); i++ {
			same = sessions[i].User == names[i]
		}
		if same {
			return
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			w.t.Fatalf("live are %v, want %v", sessions, names)
		}
	}
}

// with is alice, with other claims.
func with(change func(*auth.MintClaims)) func(*world) *authtest.User {
	return func(w *world) *authtest.User { return w.realm.User("alice", change) }
}

// issuedBy is alice with a certificate of another authority or another lifetime.
func issuedBy(w *world, ca *certs.CA, options certs.IssueOptions) *authtest.User {
	w.t.Helper()
	issued, err := ca.IssueUser("alice", options)
	if err != nil {
		w.t.Fatal(err)
	}
	return carrying(w, issued)
}

func carrying(w *world, issued *certs.Issued) *authtest.User {
	w.t.Helper()
	alice := w.realm.User("alice")
	var err error
	if alice.Certificates, err = issued.Material(w.realm.CA.Certificate()); err != nil {
		w.t.Fatal(err)
	}
	alice.Token = alice.Mint()
	return alice
}

func TestStreamsEndWhenTheirTokenExpires(t *testing.T) {
	exp := time.Now().Add(10 * time.Minute).Truncate(time.Second)
	ending{
		code: codes.Unauthenticated, reason: auth.TokenExpired,
		alice:   with(func(c *auth.MintClaims) { c.Expires = exp }),
		happens: func(w *world, _ *authtest.User) { w.clock.set(exp) },
	}.test(t)
}

func TestStreamsEndWhenTheirTokenIsRevoked(t *testing.T) {
	ending{
		code: codes.Unauthenticated, reason: auth.TokenRevoked,
		alice:   with(func(c *auth.MintClaims) { c.ID = "token-1" }),
		happens: func(w *world, _ *authtest.User) { w.source.revoke(w.t, revocations(w.t, "jti token-1")) },
	}.test(t)
}

func TestStreamsEndWhenTheirSubjectIsRevoked(t *testing.T) {
	ending{
		code: codes.Unauthenticated, reason: auth.TokenRevoked,
		happens: func(w *world, _ *authtest.User) { w.source.revoke(w.t, revocations(w.t, "subject alice")) },
	}.test(t)
}

func TestStreamsEndWhenTheirCertificateExpires(t *testing.T) {
	ending{
		code: codes.Unauthenticated, reason: auth.CertificateExpired,
		alice: func(w *world) *authtest.User {
			return issuedBy(w, w.realm.CA, certs.IssueOptions{Lifetime: 30 * time.Minute})
		},
		happens: func(w *world, alice *authtest.User) { w.clock.set(alice.Leaf().NotAfter) },
	}.test(t)
}

func TestStreamsEndWhenACertificateOfTheirChainExpires(t *testing.T) {
	var intermediate *certs.CA
	ending{
		code: codes.Unauthenticated, reason: auth.CertificateExpired,
		alice: func(w *world) *authtest.User {
			root, err := certs.NewCA(certs.CAOptions{Name: "deep", TrustDomain: authtest.TrustDomain, Depth: 1})
			if err != nil {
				w.t.Fatal(err)
			}
			w.source.replace(w.t, append(w.source.Material().Roots(), root.Certificate()), nil)
			if intermediate, err = root.IssueCA(certs.CAOptions{Name: "short", TrustDomain: authtest.TrustDomain, Lifetime: 30 * time.Minute}); err != nil {
				w.t.Fatal(err)
			}
			issued, err := intermediate.Issue(userTemplate("alice"), nil)
			if err != nil {
				w.t.Fatal(err)
			}
			return carrying(w, issued)
		},
		happens: func(w *world, _ *authtest.User) { w.clock.set(intermediate.Certificate().NotAfter) },
	}.test(t)
}

func TestStreamsEndWhenTheirCertificateIsOnACRL(t *testing.T) {
	ending{
		code: codes.Unauthenticated, reason: auth.CertificateRevoked,
		happens: func(w *world, alice *authtest.User) {
			if err := w.realm.CA.Revoke(alice.Leaf(), certs.Unspecified); err != nil {
				w.t.Fatal(err)
			}
			text, err := w.realm.CA.CRL()
			if err != nil {
				w.t.Fatal(err)
			}
			lists, err := certs.ParseCRLs(text)
			if err != nil {
				w.t.Fatal(err)
			}
			w.source.revoke(w.t, revocations(w.t, "").WithCRLs(lists...))
		},
	}.test(t)
}

func TestStreamsEndWhenTheirFingerprintIsRevoked(t *testing.T) {
	ending{
		code: codes.Unauthenticated, reason: auth.CertificateRevoked,
		happens: func(w *world, alice *authtest.User) {
			sum := certs.Thumbprint(alice.Leaf())
			w.source.revoke(w.t, revocations(w.t, "certificate "+hex.EncodeToString(sum[:])))
		},
	}.test(t)
}

func TestStreamsEndWhenTheirRootLeavesTheBundle(t *testing.T) {
	ending{
		code: codes.Unauthenticated, reason: auth.CertificateUntrusted,
		alice: func(w *world) *authtest.User {
			other, err := certs.NewCA(certs.CAOptions{Name: "other", TrustDomain: authtest.TrustDomain})
			if err != nil {
				w.t.Fatal(err)
			}
			w.source.replace(w.t, []*x509.Certificate{w.realm.CA.Certificate(), other.Certificate()}, nil)
			return issuedBy(w, other, certs.IssueOptions{})
		},
		happens: func(w *world, _ *authtest.User) {
			w.source.replace(w.t, []*x509.Certificate{w.realm.CA.Certificate()}, nil)
		},
	}.test(t)
}

// The key set is a real file here, which is followed in real time.
func TestStreamsEndWhenTheirKeyLeavesTheJWKS(t *testing.T) {
	ending{
		code: codes.Unauthenticated, reason: auth.TokenKeyRetired,
		alice: func(w *world) *authtest.User {
			old := w.realm.Signer
			alice := w.realm.User("alice")
			signer, err := auth.NewSigningKey()
			if err != nil {
				w.t.Fatal(err)
			}
			w.realm.Signer = signer
			w.writeKeys(old, signer)
			w.eventuallyOpens(w.realm.User("carol"))
			return alice
		},
		happens: func(w *world, _ *authtest.User) { w.writeKeys(w.realm.Signer) },
	}.test(t)
}

// eventuallyOpens waits until the user may open a stream.
func (w *world) eventuallyOpens(user *authtest.User) {
	w.t.Helper()
	conn := user.Dial(w.address)
	defer conn.Close()
	ctx := patience(w.t)
	for {
		stream, err := chatpb.NewChatClient(conn).ChatStream(ctx)
		if err != nil {
			w.t.Fatal(err)
		}
		if err := stream.CloseSend(); err != nil {
			w.t.Fatal(err)
		}
		if reason := reasonOf(drained(stream)); reason != auth.TokenKeyUnknown {
			return
		}
	}
}

func TestStreamsEndWhenAnOperatorSaysSo(t *testing.T) {
	ending{
		code: codes.PermissionDenied, reason: auth.Expelled,
		happens: func(w *world, _ *authtest.User) {
			for _, s := range w.guard.Sessions() {
				if s.User == "alice" && !w.guard.End(s.ID) {
					w.t.Errorf("the session %s was not there to be ended", s.ID)
				}
			}
			if w.guard.End("0") || w.guard.End("") {
				w.t.Error("a session was ended that there is none of")
			}
		},
	}.test(t)
}

func TestStreamsEndWhenThePolicyChanges(t *testing.T) {
	ending{
		code: codes.PermissionDenied, reason: auth.ScopeMissing,
		happens: func(w *world, _ *authtest.User) {
			w.guard.SetPolicy(auth.Policy{chatStream: auth.Rule{}.And(func(_ context.Context, id auth.Identity) error {
				if id.User == "alice" {
					return auth.Refusef(auth.ScopeMissing, "for the test")
				}
				return nil
			})})
		},
	}.test(t)
}
