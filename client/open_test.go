package client

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"securechat/auth"
	"securechat/auth/authtest"
	"securechat/certs"
	chatpb "securechat/proto/chat"
)

func expired(c *auth.MintClaims) {
	c.IssuedAt, c.Expires = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
}

// material is of a user whom another authority certifies, or whose certificate
// is odd in another way.
func material(t *testing.T, realm *authtest.Realm, ca *certs.CA, options certs.IssueOptions) *certs.Material {
	t.Helper()
	issued, err := ca.IssueUser("alice", options)
	must(t, err)
	m, err := issued.Material(realm.CA.Certificate())
	must(t, err)
	return m
}

func newCA(t *testing.T) *certs.CA {
	t.Helper()
	ca, err := certs.NewCA(certs.CAOptions{Name: "foreign CA", TrustDomain: authtest.TrustDomain})
	must(t, err)
	return ca
}

// Each is refused with words that name the server and the way out.
func TestOpenRefused(t *testing.T) {
	realm := authtest.NewRealm(t)
	address := startServer(t, realm)
	alice, bob := realm.User("alice"), realm.User("bob")

	closed, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, closed.Close())

	tests := []struct {
		name      string
		change    func(*Config)
		token     string // instead of alice's
		code      codes.Code
		reason    auth.Reason
		problem   certs.Problem // 0: none
		retryable bool
		words     string
	}{
		{name: "expired token", token: alice.Mint(expired), code: codes.Unauthenticated, reason: auth.TokenExpired, words: "the token has expired: obtain a new one (TOKEN_EXPIRED)"},
		{name: "another user's token", token: bob.Token, code: codes.Unauthenticated, reason: auth.TokenBinding, words: "belongs to another certificate"},
		{name: "no JWT", token: "abc", code: codes.Unauthenticated, reason: auth.TokenMalformed, words: "not a well-formed"},

		{name: "certificate of a foreign authority", change: func(c *Config) { c.Certificates = material(t, realm, newCA(t), certs.IssueOptions{}) },
			code: codes.Unavailable, problem: certs.Untrusted, words: "obtain one from an authority that the server trusts"},
		{name: "expired certificate", change: func(c *Config) {
			c.Certificates = material(t, realm, realm.CA, certs.IssueOptions{NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)})
		}, code: codes.Unavailable, problem: certs.Expired, words: "this client's own certificate expired"},
		{name: "no certificate", change: func(c *Config) {
			m, err := certs.NewMaterial(nil, alice.Certificates.Roots(), nil)
			must(t, err)
			c.Certificates = m
		}, code: codes.Unavailable, problem: certs.Missing, words: "has no certificate"},
		{name: "server's authority is not trusted", change: func(c *Config) {
			m, err := certs.NewMaterial(alice.Certificates.Certificate(), []*x509.Certificate{newCA(t).Certificate()}, nil)
			must(t, err)
			c.Certificates = m
		}, code: codes.Unavailable, problem: certs.Untrusted, words: "the server's certificate is not trusted"},
		{name: "server has another name", change: func(c *Config) { c.ServerName = "other.test" }, code: codes.Unavailable, problem: certs.Unusable, words: `not for "other.test"`},

		{name: "nobody listens", change: func(c *Config) { c.Server = closed.Addr().String() }, code: codes.Unavailable, retryable: true, words: "cannot connect"},
		{name: "no such host", change: func(c *Config) { c.Server = "nobody.invalid:1" }, code: codes.Unavailable, retryable: true, words: "nobody.invalid"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			conn := dial(t, alice, address, func(c *Config) {
				if test.token != "" {
					c.Token = TokenFunc(func(context.Context) (string, error) { return test.token, nil })
				}
				if test.change != nil {
					test.change(c)
				}
			})
			stream, err := conn.Open(patient(t))
			if err == nil {
				_ = stream.Close()
				t.Fatal("admitted")
			}
			var refusal *Error
			if !errors.As(err, &refusal) {
				t.Fatalf("got %T %v, want an *Error", err, err)
			}
			if refusal.Code != test.code || refusal.Reason != test.reason || refusal.Retryable() != test.retryable {
				t.Errorf("got %v %q retryable %v, want %v %q %v: %v", refusal.Code, refusal.Reason, refusal.Retryable(), test.code, test.reason, test.retryable, err)
			}
			if problem, _ := certs.ProblemOf(err); problem != test.problem {
				t.Errorf("got problem %v, want %v: %v", problem, test.problem, err)
			}
			if reason, _ := auth.ReasonOf(err); reason != test.reason {
				t.Errorf("auth.ReasonOf: got %q, want %q", reason, test.reason)
			}
			if !strings.Contains(err.Error(), test.words) || !strings.Contains(err.Error(), conn.server) {
				t.Errorf("got %q, want the server and %q in it", err, test.words)
			}
			if token, _ := conn.token.Token(context.Background()); strings.Contains(err.Error(), token) && len(token) > 10 {
				t.Error("the token is in the error")
			}
		})
	}
}

// What servers say of waiting decides what is worth a retry.
func TestOpenRetryable(t *testing.T) {
	realm := authtest.NewRealm(t)
	alice := realm.User("alice")
	later := &errdetails.RetryInfo{RetryDelay: durationpb.New(3 * time.Second)}
	tests := []struct {
		name  string
		code  codes.Code
		after bool
		want  bool
	}{
		{"internal", codes.Internal, false, false},
		{"not found", codes.NotFound, false, false},
		{"denied", codes.PermissionDenied, false, false},
		{"exhausted for good", codes.ResourceExhausted, false, false},
		{"exhausted for now", codes.ResourceExhausted, true, true},
		{"going down", codes.Unavailable, true, true},
		{"unavailable", codes.Unavailable, false, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			address := startOdd(t, realm, func(chatpb.Chat_ChatStreamServer) error {
				st := status.New(test.code, "no")
				if test.after {
					st, _ = st.WithDetails(later)
				}
				return st.Err()
			})
			_, err := dial(t, alice, address).Open(patient(t))
			var refusal *Error
			if !errors.As(err, &refusal) || refusal.Code != test.code || refusal.Retryable() != test.want {
				t.Fatalf("got %v, want %v with Retryable %v", err, test.code, test.want)
			}
			if test.after && refusal.RetryAfter != 3*time.Second {
				t.Errorf("got RetryAfter %v", refusal.RetryAfter)
			}
		})
	}
}

// A server that never answers is left when the context ends.
func TestOpenOutOfTime(t *testing.T) {
	realm := authtest.NewRealm(t)
	address := startOdd(t, realm, func(stream chatpb.Chat_ChatStreamServer) error {
		<-stream.Context().Done()
		return nil
	})
	conn := dial(t, realm.User("alice"), address)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err := conn.Open(ctx)
	var late *Error
	if !errors.As(err, &late) || late.Code != codes.DeadlineExceeded || !late.Retryable() || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want DEADLINE_EXCEEDED", err)
	}

	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := conn.Open(cancelled); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

func TestOpenTokenSourceFails(t *testing.T) {
	realm := authtest.NewRealm(t)
	failure := errors.New("the vault is closed")
	tests := []struct {
		name  string
		token string
		err   error
		words string
	}{
		{"source fails", "", failure, "the vault is closed"},
		{"empty", "", nil, "empty"},
		{"line break", "abc\r\nx-admin: 1", nil, "characters"},
		{"not ASCII", "töken", nil, "characters"},
		{"too large", strings.Repeat("a", 8<<10+1), nil, "larger than 8 KiB"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			// Nothing listens there: the call must not be made.
			conn := dial(t, realm.User("alice"), "127.0.0.1:1", func(c *Config) {
				c.Token = TokenFunc(func(context.Context) (string, error) { return test.token, test.err })
			})
			_, err := conn.Open(patient(t))
			if err == nil || !strings.Contains(err.Error(), test.words) || !errors.Is(err, test.err) && test.err != nil {
				t.Errorf("got %v, want %q in it", err, test.words)
			}
		})
	}
}
