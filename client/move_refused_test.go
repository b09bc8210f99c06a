package client

import (
	"context"
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"securechat/auth"
	"securechat/auth/authtest"
	"securechat/certs"
	"securechat/server"
)

// A new certificate that is of no use harms no stream, and the next one, or what
// was missing, brings it over.
func TestMoveRefused(t *testing.T) {
	type setting struct {
		*authtest.Realm
		wallet *wallet
		old    *authtest.User
		fresh  *authtest.User // a new certificate with its token
		server *swap
		beside *Stream
		later  *certs.CA // whose certificates the server is to trust later
		tokens *counting
	}
	reason := func(want auth.Reason) func(error) bool {
		return func(err error) bool { got, _ := auth.ReasonOf(err); return got == want }
	}
	is := func(want error) func(error) bool {
		return func(err error) bool { return errors.Is(err, want) }
	}
	tests := []struct {
		name   string
		full   bool // another connection has the last place at the server
		rotate func(*testing.T, *setting)
		want   func(error) bool
		final  bool
		repair func(*testing.T, *setting)
	}{
		{
			name:   "the token is the old certificate's",
			rotate: func(_ *testing.T, s *setting) { s.wallet.certify(s.fresh.Certificates) },
			want:   is(ErrOtherCertificate),
			repair: func(_ *testing.T, s *setting) { s.wallet.vouch(s.fresh.Token) },
		}, {
			name: "the token source fails",
			rotate: func(_ *testing.T, s *setting) {
				s.wallet.vouch("")
				s.wallet.certify(s.fresh.Certificates)
			},
			want:   is(errAway),
			repair: func(_ *testing.T, s *setting) { s.wallet.vouch(s.fresh.Token) },
		}, {
			name: "the token is revoked",
			rotate: func(_ *testing.T, s *setting) {
				s.tokens.revoked = s.fresh.Token
				s.wallet.rotate(s.fresh)
			},
			want: reason(auth.TokenRevoked), final: true,
			repair: func(_ *testing.T, s *setting) { s.wallet.vouch(s.fresh.Mint()) },
		}, {
			name: "the certificate is revoked",
			rotate: func(t *testing.T, s *setting) {
				s.server.Store(revoking(t, s.Realm, s.fresh.Leaf()))
				s.wallet.rotate(s.fresh)
			},
			// TLS 1.3 has no better word for it.
			want:  func(err error) bool { problem, _ := certs.ProblemOf(err); return problem == certs.Unusable },
			final: true,
			repair: func(_ *testing.T, s *setting) {
				s.fresh = s.User("alice")
				s.wallet.rotate(s.fresh)
			},
		}, {
			name: "the certificate is another user's",
			rotate: func(_ *testing.T, s *setting) {
				s.wallet.rotate(s.User("bob"))
			},
			want: is(ErrOtherUser), final: true,
			repair: func(_ *testing.T, s *setting) { s.wallet.rotate(s.fresh) },
		}, {
			name: "the server does not know the authority yet",
			rotate: func(t *testing.T, s *setting) {
				s.later = newCA(t)
				s.fresh.Certificates = material(t, s.Realm, s.later, certs.IssueOptions{})
				s.fresh.Token = s.fresh.Mint()
				s.wallet.rotate(s.fresh)
			},
			want: func(err error) bool { problem, _ := certs.ProblemOf(err); return problem == certs.Untrusted },
			// An operator may bring the servers the new authority after the clients.
			repair: func(t *testing.T, s *setting) {
				m, err := certs.NewMaterial(s.Server().Certificate(), []*x509.Certificate{s.CA.Certificate(), s.later.Certificate()}, nil)
				must(t, err)
				s.server.Store(m)
			},
		}, {
			name: "the server is full", full: true,
			rotate: func(_ *testing.T, s *setting) {
				s.wallet.rotate(s.fresh)
			},
			want:   reason(auth.TooManyStreams),
			repair: func(t *testing.T, s *setting) { must(t, s.beside.Close()) },
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			realm := authtest.NewRealm(t)
			s := &setting{Realm: realm, old: realm.User("alice"), fresh: realm.User("alice"), server: &swap{}}
			s.wallet = walletOf(s.old)
			s.server.Store(realm.Server())
			s.tokens = &counting{TokenVerifier: realm.Verifier(), times: map[string]int{}}
			address := startServer(t, realm, func(c *server.Config) {
				c.Certificates, c.Tokens, c.Limits.StreamsPerIdentity = s.server, s.tokens, 2
			})
			listen, all := events()
			conn := dial(t, s.old, address, listen, s.wallet.use)
			stream := open(t, conn)
			if test.full {
				s.beside = open(t, dial(t, s.old, address))
			}

			test.rotate(t, s)
			failed := wantMoveFailed(t, all)
			if !test.want(failed.Err) || failed.Final != test.final || failed.Retry.IsZero() {
				t.Errorf("got %+v", failed)
			}
			wantEcho(t, stream, "still here")
			wantOn(t, stream, s.old)

			test.repair(t, s)
			wantMovedAtLast(t, all, 1)
			wantOn(t, stream, s.fresh)
			wantEcho(t, stream, "over there")
			wantLines(t, conn, 1)
			s.tokens.mu.Lock()
			defer s.tokens.mu.Unlock()
			if n := s.tokens.times[s.tokens.revoked]; n > 1 {
				t.Errorf("a token refused for good was shown %d times", n)
			}
		})
	}
}

// A server that is not there is tried again; the stream that was there is lost
// as it would have been.
func TestMoveUnreachable(t *testing.T) {
	t.Parallel()
	realm := authtest.NewRealm(t)
	old, fresh := realm.User("alice"), realm.User("alice")
	w := walletOf(old)
	srv, address := startGated(t, realm, newGates().openUp())
	listen, all := events()
	stream := open(t, dial(t, old, address, listen, w.use))
	srv.Stop()
	w.rotate(fresh)
	failed := wantMoveFailed(t, all)
	var refusal *Error
	if !errors.As(failed.Err, &refusal) || !refusal.Retryable() || failed.Final || failed.Retry.IsZero() {
		t.Errorf("got %+v", failed)
	}
	if _, err := stream.Receive(patient(t)); !errors.As(err, &refusal) || !refusal.Retryable() {
		t.Errorf("got %v, want a lost connection", err)
	}
}

// Opening while the two halves of a rotation are apart.
func TestOpenMidRotation(t *testing.T) {
	realm := authtest.NewRealm(t)
	address := startServer(t, realm)
	t.Run("the token never comes to fit", func(t *testing.T) {
		w := walletOf(realm.User("alice"))
		w.vouch(realm.User("alice").Token)
		_, err := dial(t, nil, address, w.use).Open(patient(t))
		if reason, _ := auth.ReasonOf(err); reason != auth.TokenBinding {
			t.Errorf("got %v, want TOKEN_BINDING", err)
		}
	})
	t.Run("the context ends first", func(t *testing.T) {
		w := walletOf(realm.User("alice"))
		w.vouch(realm.User("alice").Token)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := dial(t, nil, address, w.use).Open(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the context's", err)
		}
	})
	t.Run("the certificate is first", func(t *testing.T) {
		old, fresh := realm.User("alice"), realm.User("alice")
		w := walletOf(old)
		conn := dial(t, nil, address, w.use)
		w.certify(fresh.Certificates)
		stream := open(t, conn) // the old pair is good still
		wantOn(t, stream, old)
		w.vouch(fresh.Token)
		wantOn(t, open(t, conn), fresh)
		wantEcho(t, stream, "still here")
	})
	t.Run("the token is first", func(t *testing.T) {
		old, fresh := realm.User("alice"), realm.User("alice")
		w := walletOf(old)
		w.vouch(fresh.Token)
		asked := make(chan struct{})
		conn := dial(t, nil, address, w.use, func(c *Config) {
			c.Token = TokenFunc(func(ctx context.Context) (string, error) { defer close(asked); return w.Token(ctx) })
		})
		opened := make(chan error, 1)
		go func() {
			stream, err := conn.Open(context.Background())
			if err == nil {
				_ = stream.Close()
			}
			opened <- err
		}()
		<-asked
		w.certify(fresh.Certificates)
		must(t, <-opened)
	})
	t.Run("nothing was live", func(t *testing.T) {
		old, fresh := realm.User("alice"), realm.User("alice")
		w := walletOf(old)
		conn := dial(t, nil, address, w.use)
		must(t, open(t, conn).Close())
		w.rotate(fresh)
		wantOn(t, open(t, conn), fresh)
		wantLines(t, conn, 1)
	})
}

// With tokens that are bound to no certificate, Open falls back on the old one
// while the new one is refused.
func TestOpenUnbound(t *testing.T) {
	realm := authtest.NewRealm(t)
	unbound := func(c *auth.MintClaims) { c.Confirmation = nil }
	old, fresh := realm.User("alice", unbound), realm.User("alice", unbound)
	there := &swap{}
	there.Store(revoking(t, realm, fresh.Leaf()))
	address := startServer(t, realm, func(c *server.Config) { c.Certificates, c.Bind = there, auth.BindSubject })
	w := walletOf(old)
	conn := dial(t, nil, address, w.use)
	w.certify(fresh.Certificates)
	wantOn(t, open(t, conn), old)

	better := realm.User("alice", unbound)
	w.certify(better.Certificates)
	wantOn(t, open(t, conn), better)
}
