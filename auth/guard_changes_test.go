package auth_test

import (
	"encoding/hex"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"

	"securechat/auth"
	"securechat/auth/authtest"
	"securechat/certs"
	chatpb "securechat/proto/chat"
)

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
