// Package authtest makes what tests of a guarded service need, in memory: an
// authority, a token issuer with its key set, users with a certificate and a
// token bound to it, and connections between them over real mutual TLS.
//
//	realm := authtest.NewRealm(t)
//	guard, _ := auth.New(auth.Config{Certificates: realm.Server(), Tokens: realm.Verifier(), Policy: ...})
//	srv := grpc.NewServer(append(guard.ServerOptions(), grpc.Creds(certs.ServerCredentials(realm.Server())))...)
//	...
//	address := realm.Serve(srv)
//	conn := realm.User("alice").Dial(address)
//
// Everything ends with the test. A failure to make something ends the test at
// once. Nothing here is for production.
package authtest

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"securechat/auth"
	"securechat/certs"
)

// What a realm's tokens say unless they are told otherwise.
const (
	Issuer      = "https://issuer.test"
	Audience    = "securechat-test"
	TrustDomain = "test"
	// ServerName is the name in the server's certificate.
	ServerName = "localhost"
)

// A Realm is an authority and an issuer that belong together.
type Realm struct {
	t testing.TB
	// CA issues the certificates of servers and users alike.
	CA *certs.CA
	// Signer signs the tokens.
	Signer *auth.Signer

	server *certs.Material
}

// NewRealm makes a realm for one test.
func NewRealm(t testing.TB) *Realm {
	t.Helper()
	ca, err := certs.NewCA(certs.CAOptions{Name: "test CA", TrustDomain: TrustDomain})
	must(t, err)
	signer, err := auth.NewSigningKey()
	must(t, err)
	issued, err := ca.IssueServer([]string{ServerName, "127.0.0.1"}, certs.IssueOptions{})
	must(t, err)
	server, err := issued.Material(ca.Certificate())
	must(t, err)
	return &Realm{t: t, CA: ca, Signer: signer, server: server}
}

// Server is the key material of a server of the realm.
func (r *Realm) Server() *certs.Material { return r.server }

// Verifier accepts the realm's tokens.
func (r *Realm) Verifier() *auth.Verifier {
	r.t.Helper()
	verifier, err := auth.NewVerifier(auth.VerifierConfig{
		Issuers: []auth.Issuer{{Name: Issuer, Audience: Audience, Keys: r.Keys()}},
	})
	must(r.t, err)
	return verifier
}

// Keys is the realm's key set.
func (r *Realm) Keys() *auth.KeySet {
	r.t.Helper()
	keys, err := auth.ParseKeySet(r.JWKS())
	must(r.t, err)
	return keys
}

// JWKS is the realm's key set as an issuer publishes it (RFC 7517).
func (r *Realm) JWKS() []byte {
	r.t.Helper()
	jwks, err := r.Signer.JWKS()
	must(r.t, err)
	return jwks
}

// Endpoint publishes the key set over https, at URL. Roots for it are in the
// server's Certificate.
func (r *Realm) Endpoint() *httptest.Server {
	r.t.Helper()
	jwks := r.JWKS()
	endpoint := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/jwk-set+json")
		_, _ = w.Write(jwks)
	}))
	r.t.Cleanup(endpoint.Close)
	return endpoint
}

// Serve runs srv on loopback until the test ends, and returns its address.
func (r *Realm) Serve(srv *grpc.Server) string {
	r.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(r.t, err)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(listener) }()
	r.t.Cleanup(func() {
		srv.Stop()
		// A test may end before Serve has begun.
		if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			r.t.Errorf("serve: %v", err)
		}
	})
	return listener.Addr().String()
}

// A User has a certificate of the realm and a token bound to it.
type User struct {
	realm *Realm
	// Name is the user's name, in certificate and token.
	Name string
	// Certificates is the user's key material, with the realm's root.
	Certificates *certs.Material
	// Token is what the user's connections send. It may be changed before Dial.
	Token string
}

// User makes a user, whose token claims what the options make of it.
func (r *Realm) User(name string, options ...func(*auth.MintClaims)) *User {
	r.t.Helper()
	issued, err := r.CA.IssueUser(name, certs.IssueOptions{})
	must(r.t, err)
	material, err := issued.Material(r.CA.Certificate())
	must(r.t, err)
	user := &User{realm: r, Name: name, Certificates: material}
	user.Token = user.Mint(options...)
	return user
}

// Leaf is the user's certificate.
func (u *User) Leaf() *x509.Certificate { return u.Certificates.Certificate().Leaf }

// Mint returns another token for the user, bound to the certificate unless an
// option unbinds it.
func (u *User) Mint(options ...func(*auth.MintClaims)) string {
	u.realm.t.Helper()
	thumbprint := certs.Thumbprint(u.Leaf())
	claims := auth.MintClaims{
		Issuer: Issuer, Audience: []string{Audience}, Subject: u.Name,
		Expires: time.Now().Add(time.Hour), Confirmation: &thumbprint,
	}
	for _, option := range options {
		option(&claims)
	}
	token, err := u.realm.Signer.Mint(claims)
	must(u.realm.t, err)
	return token
}

// Dial returns a connection to a server of the realm that presents the user's
// certificate and sends the user's token with every call.
func (u *User) Dial(address string, options ...grpc.DialOption) *grpc.ClientConn {
	u.realm.t.Helper()
	options = append([]grpc.DialOption{
		grpc.WithTransportCredentials(certs.ClientCredentials(u.Certificates, ServerName)),
		grpc.WithDisableServiceConfig(),
	}, options...)
	if u.Token != "" {
		options = append(options, grpc.WithPerRPCCredentials(bearer(u.Token)))
	}
	conn, err := grpc.NewClient("passthrough:///"+address, options...)
	must(u.realm.t, err)
	u.realm.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// bearer sends one token with every call, over TLS only.
type bearer string

var _ credentials.PerRPCCredentials = bearer("")

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

func (bearer) RequireTransportSecurity() bool { return true }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
