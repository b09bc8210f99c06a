package auth_test

import (
	"context"
	"crypto/x509"
	"errors"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"securechat/auth"
	"securechat/auth/authtest"
	"securechat/certs"
	chatpb "securechat/proto/chat"
)

func TestPolicyRefusals(t *testing.T) {
	realm := authtest.NewRealm(t)
	closed := func(c *auth.Config) {
		c.Policy = policy()
		delete(c.Policy, chatStream)
	}
	t.Run("an unlisted method", func(t *testing.T) {
		_, err := say(patience(t), realm.User("alice").Dial(serve(t, realm, closed)))
		wantRefusal(t, err, codes.PermissionDenied, auth.MethodDenied)
	})
	// Strangers do not learn which methods exist.
	t.Run("an unlisted method without a token", func(t *testing.T) {
		alice := realm.User("alice")
		alice.Token = ""
		_, err := say(patience(t), alice.Dial(serve(t, realm, closed)))
		wantRefusal(t, err, codes.Unauthenticated, auth.TokenMissing)
	})
	t.Run("an unregistered method", func(t *testing.T) {
		conn := realm.User("alice").Dial(serve(t, realm, nil))
		err := conn.Invoke(patience(t), "/chat.Chat/ChatStream", &chatpb.ChatMessage{}, &chatpb.ChatMessage{})
		wantRefusal(t, err, codes.PermissionDenied, auth.MethodDenied)
	})
	watch := func(t *testing.T, scopes ...string) error {
		conn := realm.User("alice", func(c *auth.MintClaims) { c.Scopes = scopes }).Dial(serve(t, realm, nil))
		ctx, cancel := context.WithCancel(patience(t))
		defer cancel()
		stream, err := healthpb.NewHealthClient(conn).Watch(ctx, &healthpb.HealthCheckRequest{})
		if err != nil {
			return err
		}
		_, err = stream.Recv()
		return err
	}
	t.Run("no scope", func(t *testing.T) {
		wantRefusal(t, watch(t), codes.PermissionDenied, auth.ScopeMissing)
	})
	t.Run("another scope, longer", func(t *testing.T) {
		wantRefusal(t, watch(t, "chat:administrator"), codes.PermissionDenied, auth.ScopeMissing)
	})
	t.Run("the scope among others", func(t *testing.T) {
		if err := watch(t, "chat:read", "chat:admin"); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("a check", func(t *testing.T) {
		address := serve(t, realm, func(c *auth.Config) {
			c.Policy = policy()
			c.Policy[chatStream] = auth.Rule{}.And(func(_ context.Context, id auth.Identity) error {
				if id.User != "bob" {
					return errors.New("only bob")
				}
				return nil
			})
		})
		_, err := say(patience(t), realm.User("alice").Dial(address))
		wantRefusal(t, err, codes.PermissionDenied, auth.MethodDenied)
		if strings.Contains(err.Error(), "bob") {
			t.Errorf("the refusal has the check's cause: %v", err)
		}
		if _, err := say(patience(t), realm.User("bob").Dial(address)); err != nil {
			t.Error(err)
		}
	})
}

func TestPolicyMustFitTheServer(t *testing.T) {
	realm := authtest.NewRealm(t)
	for name, change := range map[string]func(auth.Policy){
		"/chat.Chat/chatStream has no rule":                      func(p auth.Policy) { delete(p, chatStream) },
		"/chat.Chat/chatstream has a rule but is not registered": func(p auth.Policy) { p["/chat.Chat/chatstream"] = auth.Rule{} },
	} {
		p := auth.Policy{chatStream: auth.Rule{}}
		change(p)
		guard, err := auth.New(auth.Config{Certificates: realm.Server(), Tokens: realm.Verifier(), Policy: p})
		if err != nil {
			t.Fatal(err)
		}
		srv := grpc.NewServer()
		chatpb.RegisterChatServer(srv, mirror{})
		if err := guard.Covers(srv); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("Covers: %v, want %q", err, name)
		}
	}
	for name, config := range map[string]auth.Config{
		"no source":          {Tokens: realm.Verifier(), Policy: policy()},
		"no verifier":        {Certificates: realm.Server(), Policy: policy()},
		"an unknown binding": {Certificates: realm.Server(), Tokens: realm.Verifier(), Bind: 7},
	} {
		if _, err := auth.New(config); err == nil {
			t.Errorf("New with %s: no error", name)
		}
	}
}

func TestAcceptance(t *testing.T) {
	realm := authtest.NewRealm(t)
	t.Run("the user is stamped, whatever the client wrote", func(t *testing.T) {
		user, err := say(patience(t), realm.User("alice").Dial(serve(t, realm, nil)))
		if err != nil || user != "alice" {
			t.Fatalf("got %q, %v, want alice", user, err)
		}
	})
	t.Run("the scheme's case does not matter", func(t *testing.T) {
		alice := realm.User("alice")
		token := alice.Token
		alice.Token = ""
		if _, err := say(authorization(patience(t), "bearer "+token), alice.Dial(serve(t, realm, nil))); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("bind subject, token without a binding", func(t *testing.T) {
		alice := realm.User("alice")
		alice.Token = alice.Mint(func(c *auth.MintClaims) { c.Confirmation = nil })
		address := serve(t, realm, func(c *auth.Config) { c.Bind = auth.BindSubject })
		if _, err := say(patience(t), alice.Dial(address)); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("bind certificate, a foreign CA's email is no user of ours", func(t *testing.T) {
		alice := realm.User("alice")
		spoiled(t, realm, alice, func(c *x509.Certificate) { c.URIs, c.EmailAddresses = nil, []string{"a.liddell@example.org"} })
		address := serve(t, realm, func(c *auth.Config) { c.Identity = certs.Email })
		user, err := say(patience(t), alice.Dial(address))
		if err != nil || user != "alice" {
			t.Fatalf("got %q, %v, want alice", user, err)
		}
	})
	t.Run("a certificate alone, where the policy says so", func(t *testing.T) {
		prober := realm.User("prober")
		prober.Token = ""
		conn := prober.Dial(serve(t, realm, nil))
		if _, err := healthpb.NewHealthClient(conn).Check(patience(t), &healthpb.HealthCheckRequest{}); err != nil {
			t.Fatal(err)
		}
	})
}
