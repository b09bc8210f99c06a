package auth_test

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"securechat/auth"
	"securechat/auth/authtest"
	"securechat/certs"
	chatpb "securechat/proto/chat"
)

const chatStream = chatpb.Chat_ChatStream_FullMethodName

// policy is that of the service in these tests: a stream for callers with a
// token, a unary method for those with a certificate, one with a scope.
func policy() auth.Policy {
	return auth.Policy{
		chatStream:                     auth.Rule{},
		"/grpc.health.v1.Health/Check": auth.CertificateOnly(),
		"/grpc.health.v1.Health/Watch": auth.Scopes("chat:admin"),
	}
}

// mirror sends every message back as the handler saw it.
type mirror struct {
	chatpb.UnimplementedChatServer
}

func (mirror) ChatStream(stream chatpb.Chat_ChatStreamServer) error {
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(m); err != nil {
			return err
		}
	}
}

// serve puts a guard in front of a mirror and returns its address.
func serve(t *testing.T, realm *authtest.Realm, change func(*auth.Config)) string {
	t.Helper()
	config := auth.Config{
		Certificates: realm.Server(), Tokens: realm.Verifier(), Policy: policy(), Log: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&config)
	}
	guard, err := auth.New(config)
	if err != nil {
		t.Fatal(err)
	}
	stamp := auth.Stamp(func(m *chatpb.ChatMessage, id auth.Identity) { m.User = id.User })
	srv := grpc.NewServer(append(guard.ServerOptions(stamp), grpc.Creds(certs.ServerCredentials(config.Certificates)))...)
	chatpb.RegisterChatServer(srv, mirror{})
	healthpb.RegisterHealthServer(srv, health.NewServer())
	t.Cleanup(guard.Wait)
	return realm.Serve(srv)
}

// say opens a stream, sends one message as "mallory" and returns the user that
// the handler saw.
func say(ctx context.Context, conn *grpc.ClientConn) (string, error) {
	stream, err := chatpb.NewChatClient(conn).ChatStream(ctx)
	if err != nil {
		return "", err
	}
	// A refused stream may fail the send with EOF; the reason is in Recv.
	if err := stream.Send(&chatpb.ChatMessage{User: "mallory", Message: "hello"}); err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	m, err := stream.Recv()
	if err != nil {
		return "", err
	}
	if err := stream.CloseSend(); err != nil {
		return "", err
	}
	_, err = stream.Recv()
	if !errors.Is(err, io.EOF) {
		return "", err
	}
	return m.User, nil
}

func patience(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// wantRefusal asserts all that a client may count on in a refusal.
func wantRefusal(t *testing.T, err error, code codes.Code, reason auth.Reason) {
	t.Helper()
	st, _ := status.FromError(err)
	if err == nil || st.Code() != code {
		t.Fatalf("got %v, want %s with %s", err, code, reason)
	}
	var info *errdetails.ErrorInfo
	for _, detail := range st.Details() {
		if found, ok := detail.(*errdetails.ErrorInfo); ok {
			info = found
		}
	}
	if info.GetDomain() != "securechat" || info.GetReason() != string(reason) {
		t.Fatalf("ErrorInfo is %v, want %s of securechat; status %v", info, reason, st)
	}
}

// userTemplate is a user's certificate as the CA makes it, to be spoiled.
func userTemplate(name string) *x509.Certificate {
	return &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             time.Now().Add(-time.Minute),
		NotAfter:              time.Now().Add(time.Hour),
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		URIs:                  []*url.URL{{Scheme: "spiffe", Host: authtest.TrustDomain, Path: "/user/" + name}},
	}
}

// spoiled gives the user another certificate of the realm and a token for it.
func spoiled(t *testing.T, realm *authtest.Realm, user *authtest.User, spoil func(*x509.Certificate)) {
	t.Helper()
	template := userTemplate(user.Name)
	spoil(template)
	issued, err := realm.CA.Issue(template, nil)
	if err != nil {
		t.Fatal(err)
	}
	if user.Certificates, err = issued.Material(realm.CA.Certificate()); err != nil {
		t.Fatal(err)
	}
	user.Token = user.Mint()
}

// authorization is metadata as a client of any kind may send it.
func authorization(ctx context.Context, values ...string) context.Context {
	md := metadata.MD{}
	md.Append("authorization", values...)
	return metadata.NewOutgoingContext(ctx, md)
}

func TestRefusals(t *testing.T) {
	type attempt struct {
		realm *authtest.Realm
		user  *authtest.User
		ctx   context.Context
	}
	for _, test := range []struct {
		name   string
		config func(*auth.Config)
		spoil  func(t *testing.T, a *attempt)
		reason auth.Reason
	}{
		{name: "no token", reason: auth.TokenMissing,
			spoil: func(_ *testing.T, a *attempt) { a.user.Token = "" }},
		{name: "empty authorization", reason: auth.TokenScheme,
			spoil: func(_ *testing.T, a *attempt) { a.user.Token, a.ctx = "", authorization(a.ctx, "") }},
		{name: "scheme and nothing else", reason: auth.TokenMissing,
			spoil: func(_ *testing.T, a *attempt) { a.user.Token, a.ctx = "", authorization(a.ctx, "Bearer") }},
		{name: "scheme Basic", reason: auth.TokenScheme,
			spoil: func(_ *testing.T, a *attempt) { a.user.Token, a.ctx = "", authorization(a.ctx, "Basic "+a.user.Token) }},
		{name: "no scheme", reason: auth.TokenScheme,
			spoil: func(_ *testing.T, a *attempt) { a.user.Token, a.ctx = "", authorization(a.ctx, a.user.Token) }},
		{name: "two tokens, both good", reason: auth.TokenAmbiguous,
			spoil: func(_ *testing.T, a *attempt) { a.ctx = authorization(a.ctx, "Bearer "+a.user.Token) }},
		// Some parsers take the first of a list; a list is no token68 (RFC 7235 section 2.1).
		{name: "two tokens in one value", reason: auth.TokenMalformed,
			spoil: func(_ *testing.T, a *attempt) {
				a.ctx, a.user.Token = authorization(a.ctx, "Bearer "+a.user.Token+", Bearer "+a.user.Token), ""
			}},
		{name: "two spaces", reason: auth.TokenMalformed,
			spoil: func(_ *testing.T, a *attempt) {
				a.ctx, a.user.Token = authorization(a.ctx, "Bearer  "+a.user.Token), ""
			}},
		{name: "token larger than 8 KiB", reason: auth.TokenTooLarge,
			spoil: func(_ *testing.T, a *attempt) { a.user.Token = strings.Repeat("a", 8<<10+1) }},
		{name: "expired token", reason: auth.TokenExpired,
			spoil: func(_ *testing.T, a *attempt) {
				a.user.Token = a.user.Mint(func(c *auth.MintClaims) {
					c.IssuedAt, c.Expires = time.Now().Add(-time.Hour), time.Now().Add(-time.Second)
				})
			}},
		{name: "token of another realm", reason: auth.TokenKeyUnknown,
			spoil: func(t *testing.T, a *attempt) {
				thumbprint := certs.Thumbprint(a.user.Leaf())
				a.user.Token = authtest.NewRealm(t).User("alice", func(c *auth.MintClaims) { c.Confirmation = &thumbprint }).Token
			}},
		{name: "stolen token: bound to alice's certificate, sent by mallory", reason: auth.TokenBinding,
			spoil: func(_ *testing.T, a *attempt) {
				token := a.user.Token
				a.user = a.realm.User("mallory")
				a.user.Token = token
			}},
		// The same name in another certificate is another certificate.
		{name: "token bound to an earlier certificate of the same user", reason: auth.TokenBinding,
			spoil: func(_ *testing.T, a *attempt) {
				token := a.user.Token
				a.user = a.realm.User("alice")
				a.user.Token = token
			}},
		{name: "token without a binding", reason: auth.TokenUnbound,
			spoil: func(_ *testing.T, a *attempt) {
				a.user.Token = a.user.Mint(func(c *auth.MintClaims) { c.Confirmation = nil })
			}},
		{name: "bound token whose subject is not the certificate's user", reason: auth.TokenBinding,
			spoil: func(_ *testing.T, a *attempt) {
				a.user.Token = a.user.Mint(func(c *auth.MintClaims) { c.Subject = "bob" })
			}},
		{name: "bind subject: another's token", reason: auth.TokenBinding,
			config: func(c *auth.Config) { c.Bind = auth.BindSubject },
			spoil: func(_ *testing.T, a *attempt) {
				a.user.Token = a.user.Mint(func(c *auth.MintClaims) { c.Subject, c.Confirmation = "bob", nil })
			}},
		// A binding that does not hold is refused even where none is asked for.
		{name: "bind subject: token bound to another certificate", reason: auth.TokenBinding,
			config: func(c *auth.Config) { c.Bind = auth.BindSubject },
			spoil: func(_ *testing.T, a *attempt) {
				a.user.Token = a.user.Mint(func(c *auth.MintClaims) { c.Confirmation = &[32]byte{1} })
			}},
		{name: "two URIs in the certificate", reason: auth.CertificateInvalid,
			spoil: func(t *testing.T, a *attempt) {
				spoiled(t, a.realm, a.user, func(c *x509.Certificate) {
					c.URIs = append(c.URIs, &url.URL{Scheme: "spiffe", Host: authtest.TrustDomain, Path: "/user/root"})
				})
			}},
		{name: "CN only", reason: auth.CertificateInvalid,
			spoil: func(t *testing.T, a *attempt) {
				spoiled(t, a.realm, a.user, func(c *x509.Certificate) { c.URIs = nil })
			}},
		{name: "a DNS name is nobody's", reason: auth.CertificateInvalid,
			spoil: func(t *testing.T, a *attempt) {
				spoiled(t, a.realm, a.user, func(c *x509.Certificate) { c.URIs, c.DNSNames = nil, []string{"alice"} })
			}},
		{name: "a service, not a user", reason: auth.CertificateInvalid,
			spoil: func(t *testing.T, a *attempt) {
				spoiled(t, a.realm, a.user, func(c *x509.Certificate) { c.URIs[0].Path = "/service/alice" })
			}},
		{name: "another trust domain", reason: auth.CertificateInvalid,
			config: func(c *auth.Config) { c.TrustDomain = "elsewhere" }},
		{name: "kind email and a certificate without", reason: auth.CertificateInvalid,
			config: func(c *auth.Config) { c.Identity = certs.Email }},
	} {
		t.Run(test.name, func(t *testing.T) {
			realm := authtest.NewRealm(t)
			a := &attempt{realm: realm, user: realm.User("alice"), ctx: patience(t)}
			address := serve(t, realm, test.config)
			if test.spoil != nil {
				test.spoil(t, a)
			}
			_, err := say(a.ctx, a.user.Dial(address))
			wantRefusal(t, err, codes.Unauthenticated, test.reason)
			if token := a.user.Token; token != "" && strings.Contains(err.Error(), token) {
				t.Error("the refusal echoes the token")
			}
			if _, err := say(patience(t), realm.User("bob").Dial(address)); err != nil && test.config == nil {
				t.Errorf("another user's stream: %v", err)
			}
		})
	}
}

func TestRefusalsByRevocation(t *testing.T) {
	for _, test := range []struct {
		name   string
		line   func(u *authtest.User) string
		reason auth.Reason
	}{
		{"token", func(*authtest.User) string { return "jti stolen" }, auth.TokenRevoked},
		{"subject", func(*authtest.User) string { return "subject alice" }, auth.TokenRevoked},
		{"subject, tokens issued until now", func(*authtest.User) string {
			return "subject alice before " + time.Now().Add(time.Minute).UTC().Format(time.RFC3339)
		}, auth.TokenRevoked},
		// The handshake would refuse it too: this connection is older than the list.
		{"certificate", func(u *authtest.User) string {
			sum := certs.Thumbprint(u.Leaf())
			return "certificate " + hex.EncodeToString(sum[:])
		}, auth.CertificateRevoked},
	} {
		t.Run(test.name, func(t *testing.T) {
			realm := authtest.NewRealm(t)
			alice := realm.User("alice", func(c *auth.MintClaims) { c.ID = "stolen" })
			source := &swapped{}
			source.set(realm.Server())
			address := serve(t, realm, func(c *auth.Config) { c.Certificates = source })
			conn := alice.Dial(address)
			if _, err := say(patience(t), conn); err != nil {
				t.Fatalf("before the revocation: %v", err)
			}
			revocations, err := certs.ParseRevocations([]byte(test.line(alice)))
			if err != nil {
				t.Fatal(err)
			}
			material, err := certs.NewMaterial(realm.Server().Certificate(), realm.Server().Roots(), revocations)
			if err != nil {
				t.Fatal(err)
			}
			source.set(material)
			_, err = say(patience(t), conn)
			wantRefusal(t, err, codes.Unauthenticated, test.reason)
			if _, err := say(patience(t), realm.User("bob").Dial(address)); err != nil {
				t.Errorf("another user's stream: %v", err)
			}
		})
	}
}

// New streams on an old connection are held against the roots of today.
func TestRefusalWhenTheRootIsGone(t *testing.T) {
	realm := authtest.NewRealm(t)
	source := &swapped{}
	source.set(realm.Server())
	address := serve(t, realm, func(c *auth.Config) { c.Certificates = source })
	conn := realm.User("alice").Dial(address)
	if _, err := say(patience(t), conn); err != nil {
		t.Fatalf("before the change: %v", err)
	}
	material, err := certs.NewMaterial(realm.Server().Certificate(), authtest.NewRealm(t).Server().Roots(), nil)
	if err != nil {
		t.Fatal(err)
	}
	source.set(material)
	_, err = say(patience(t), conn)
	wantRefusal(t, err, codes.Unauthenticated, auth.CertificateUntrusted)
}

// New streams on an old connection are held against the clock of now.
func TestRefusalWhenTheCertificateHasExpired(t *testing.T) {
	realm := authtest.NewRealm(t)
	now := &clock{}
	now.set(time.Now())
	address := serve(t, realm, func(c *auth.Config) { c.Now = now.now })
	conn := realm.User("alice").Dial(address)
	if _, err := say(patience(t), conn); err != nil {
		t.Fatalf("before the expiry: %v", err)
	}
	now.set(time.Now().Add(certs.DefaultUserLifetime + time.Hour))
	_, err := say(patience(t), conn)
	wantRefusal(t, err, codes.Unauthenticated, auth.CertificateExpired)
}

func TestWithoutTransportSecurityNobodyIsKnown(t *testing.T) {
	realm := authtest.NewRealm(t)
	guard, err := auth.New(auth.Config{Certificates: realm.Server(), Tokens: realm.Verifier(), Policy: policy()})
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer(guard.ServerOptions()...)
	chatpb.RegisterChatServer(srv, mirror{})
	conn, err := grpc.NewClient("passthrough:///"+realm.Serve(srv), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = say(authorization(patience(t), "Bearer "+realm.User("alice").Token), conn)
	wantRefusal(t, err, codes.Unauthenticated, auth.CertificateMissing)
}

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
