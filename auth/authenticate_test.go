package auth_test

import (
	"context"
	"crypto/x509"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"securechat/auth"
	"securechat/auth/authtest"
	"securechat/certs"
)

// authenticated returns whom a guard takes the caller of a method for, who comes
// over a TLS that has verified the leaf as other servers than ours might.
func authenticated(t *testing.T, realm *authtest.Realm, method string, user *authtest.User) (auth.Identity, error) {
	t.Helper()
	guard, err := auth.New(auth.Config{Certificates: realm.Server(), Tokens: realm.Verifier(), Policy: policy()})
	if err != nil {
		t.Fatal(err)
	}
	ctx := metadata.NewIncomingContext(onConnection(t.Context(), chainsOf(realm, user)), metadata.Pairs("authorization", "Bearer "+user.Token))
	var id auth.Identity
	_, err = guard.Authenticate().Unary(ctx, nil, &grpc.UnaryServerInfo{FullMethod: method}, func(ctx context.Context, _ any) (any, error) {
		id, _ = auth.FromContext(ctx)
		return nil, nil
	})
	return id, err
}

// A guard asks of a certificate what certs.ServerConfig does, behind whatever TLS it
// stands.
func TestCertificatesThatIdentifyNobody(t *testing.T) {
	realm := authtest.NewRealm(t)
	for name, test := range map[string]struct {
		user   string
		method string
		spoil  func(*x509.Certificate)
	}{
		"of a server":    {"alice", chatStream, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }},
		"for any use":    {"alice", chatStream, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }},
		"an authority's": {"alice", chatStream, func(c *x509.Certificate) { c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign }},
		"of the service's name, where no token says who it is": {"alice", "/grpc.health.v1.Health/Check",
			func(c *x509.Certificate) { c.URIs[0].Path = "/user/Server" }},
	} {
		t.Run(name, func(t *testing.T) {
			user := realm.User(test.user)
			spoiled(t, realm, user, test.spoil)
			if id, err := authenticated(t, realm, test.method, user); reasonOf(err) != auth.CertificateInvalid {
				t.Errorf("it is %+v, %v, want CERTIFICATE_INVALID", id, err)
			}
		})
	}
}

// An authority ends with the token or the certificate, whichever ends first.
func TestWhichEndsFirst(t *testing.T) {
	realm := authtest.NewRealm(t)
	user := realm.User("alice")
	spoiled(t, realm, user, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(30 * time.Minute) })
	leafEnds := user.Leaf().NotAfter
	for name, test := range map[string]struct {
		token time.Time
		want  time.Time
		by    auth.Reason
	}{
		"the token":       {leafEnds.Add(-time.Minute), leafEnds.Add(-time.Minute), auth.TokenExpired},
		"the certificate": {leafEnds.Add(time.Minute), leafEnds, auth.CertificateExpired},
	} {
		user.Token = user.Mint(expiring(test.token))
		if id, err := authenticated(t, realm, chatStream, user); err != nil || !id.Expires.Equal(test.want) || id.ExpiresBy != test.by {
			t.Errorf("%s: it ends at %v by %s, %v, want %v by %s", name, id.Expires, id.ExpiresBy, err, test.want, test.by)
		}
	}
}

// Certificates that have no well-defined end (RFC 5280 section 4.1.2.5) carry a
// stream like others.
func TestCertificatesWithoutAnEnd(t *testing.T) {
	bubble(t, func(t *testing.T, realm *authtest.Realm, alice *authtest.User) {
		never := time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
		ca, err := certs.NewCA(certs.CAOptions{TrustDomain: authtest.TrustDomain, NotAfter: never})
		if err != nil {
			t.Fatal(err)
		}
		issued, err := ca.IssueUser("alice", certs.IssueOptions{NotAfter: never})
		if err != nil {
			t.Fatal(err)
		}
		guard, source := newFake(t, realm)
		source.replace(t, []*x509.Certificate{ca.Certificate()}, nil)
		chains := [][]*x509.Certificate{{issued.Certificate(), ca.Certificate()}}
		fake := &fakeStream{ctx: auth.NewContext(onConnection(t.Context(), chains), identityOf(alice)), messages: make(chan struct{})}
		ended := make(chan error, 1)
		go func() {
			ended <- supervised(guard, fake, func(_ any, stream grpc.ServerStream) error { return stream.RecvMsg(nil) })
		}()
		pass(promised)
		if live := guard.Sessions(); len(live) != 1 || !live[0].Expires.Equal(identityOf(alice).Expires.Add(-promised)) {
			t.Errorf("the sessions are %+v, want one until its token expires", live)
		}
		close(fake.messages)
		if err := <-ended; reasonOf(err) != "" {
			t.Errorf("it ended with %v", err)
		}
		guard.Wait()
	})
}
