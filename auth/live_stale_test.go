package auth_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"securechat/auth"
	"securechat/auth/authtest"
	"securechat/certs"
)

// worldWithShortList trusts an authority whose list is due in half an hour and has
// revoked nobody. It issues for alice; bob's authority has no list.
func worldWithShortList(t *testing.T, strict bool) (w *world, alice *authtest.User, due time.Time) {
	t.Helper()
	w = newWorld(t, floods)
	due = time.Now().Add(30 * time.Minute)
	key := func() *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	parse := func(der []byte, err error) *x509.Certificate {
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	rootKey, leafKey := key(), key()
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "with a list"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: []byte{1},
	}
	root = parse(x509.CreateCertificate(rand.Reader, root, root, rootKey.Public(), rootKey))
	template := userTemplate("alice")
	template.SerialNumber = big.NewInt(2)
	leaf := parse(x509.CreateCertificate(rand.Reader, template, root, leafKey.Public(), rootKey))
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: due}, root, rootKey)
	if err != nil {
		t.Fatal(err)
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		t.Fatal(err)
	}
	lists := revocations(t, "").WithCRLs(list)
	if strict {
		lists = lists.Strict()
	}
	w.source.replace(t, append(w.source.Material().Roots(), root), lists)
	alice = w.realm.User("alice")
	pair := &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: leafKey}
	if alice.Certificates, err = certs.NewMaterial(pair, []*x509.Certificate{w.realm.CA.Certificate()}, nil); err != nil {
		t.Fatal(err)
	}
	alice.Token = alice.Mint()
	return w, alice, due
}

// With strict lists, a stream ends when the list of its certificate's issuer is
// past its next update; those of other issuers live on.
func TestStreamsEndWhenTheirListIsTooOld(t *testing.T) {
	w, alice, due := worldWithShortList(t, true)
	ending{
		code: codes.Unauthenticated, reason: auth.CertificateRevoked,
		happens: func(w *world, _ *authtest.User) { w.clock.set(due.Add(time.Second)) },
	}.run(w, alice, w.realm.User("bob"))
}

func TestStreamsOutliveAListThatIsTooOld(t *testing.T) {
	w, alice, due := worldWithShortList(t, false)
	stream := open(t, alice.Dial(w.address))
	w.clock.set(due.Add(time.Second))
	<-time.After(300 * time.Millisecond) // three looks at the live streams
	echoed(t, stream, "still here")
}
