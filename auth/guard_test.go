package auth_test

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
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
