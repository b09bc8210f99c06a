package auth_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"securechat/auth"
	"securechat/auth/authtest"
	"securechat/certs"
)

// The longest session binds however often the token is refreshed, by elapsed time.
func TestLongestSession(t *testing.T) {
	bubble(t, func(t *testing.T, realm *authtest.Realm, alice *authtest.User) {
		guard, _ := newFake(t, realm, func(c *auth.Config) { c.MaxSession = 10 * time.Minute })
		fake := &fakeStream{ctx: auth.NewContext(onConnection(t.Context(), chainsOf(realm, alice)), identityOf(alice)), messages: make(chan struct{})}
		began := time.Now()
		err := supervised(guard, fake, func(_ any, stream grpc.ServerStream) error { return stream.RecvMsg(nil) })
		if lived := time.Since(began); lived < 10*time.Minute || lived > 10*time.Minute+100*time.Millisecond {
			t.Errorf("it lived %v, want 10 minutes", lived)
		}
		if reasonOf(err) != auth.SessionExpired {
			t.Errorf("got %v, want SESSION_EXPIRED", err)
		}
		close(fake.messages)
		guard.Wait()
	})
}

// An expiry is a time of the wall clock: setting it an hour ahead ends what has
// expired by then, and nothing else; setting it back lets live what has not,
// certificates included that are not valid yet by it.
func TestClocksThatJump(t *testing.T) {
	bubble(t, func(t *testing.T, realm *authtest.Realm, _ *authtest.User) {
		short, long := realm.User("short"), realm.User("long")
		clock := &clock{}
		guard, source := newFake(t, realm, func(c *auth.Config) { c.Now = clock.now })
		release := make(chan struct{})
		var running sync.WaitGroup
		ended := make(map[*authtest.User]chan error)
		for user, life := range map[*authtest.User]time.Duration{short: 30 * time.Minute, long: 3 * time.Hour} {
			id := identityOf(user)
			id.Expires = time.Now().Add(life)
			fake := &fakeStream{ctx: auth.NewContext(onConnection(t.Context(), chainsOf(realm, user)), id), messages: release}
			result := make(chan error, 1)
			ended[user] = result
			running.Go(func() {
				result <- supervised(guard, fake, func(_ any, stream grpc.ServerStream) error { return stream.RecvMsg(nil) })
			})
		}
		pass(time.Second)
		clock.set(time.Now().Add(-time.Hour))
		source.revoke(t, revocations(t, "subject nobody")) // everything is held against this anew
		pass(time.Second)
		if live := len(guard.Sessions()); live != 2 {
			t.Errorf("%d streams live after the clock was set an hour back, want 2", live)
		}
		clock.set(time.Now().Add(time.Hour))
		pass(time.Second)
		if err := <-ended[short]; reasonOf(err) != auth.TokenExpired {
			t.Errorf("past its expiry: %v, want TOKEN_EXPIRED", err)
		}
		if live := guard.Sessions(); len(live) != 1 || live[0].User != "long" {
			t.Errorf("live are %v, want long alone", live)
		}
		close(release)
		running.Wait()
		guard.Wait()
	})
}

// bubble runs a test in a synctest bubble, with a realm of the bubble's time.
func bubble(t *testing.T, test func(*testing.T, *authtest.Realm, *authtest.User)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		realm := authtest.NewRealm(t)
		test(t, realm, realm.User("alice"))
	})
}

// pass lets time go by in a synctest bubble, where that takes none.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// When one of two chains does not lead to a root of today any more, the stream
// ends with the other, although that ends earlier than the one it began with.
func TestTheChainThatStandsCounts(t *testing.T) {
	realm := authtest.NewRealm(t)
	alice := realm.User("alice")
	second, err := certs.NewCA(certs.CAOptions{Name: "second", TrustDomain: authtest.TrustDomain, Lifetime: 20 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	clock := &clock{}
	guard, source := newFake(t, realm, func(c *auth.Config) { c.Now = clock.now })
	both := append(source.Material().Roots(), second.Certificate())
	source.replace(t, both, nil)
	chains := append(chainsOf(realm, alice), chainsOf(realm, alice)[0][:1:1])
	chains[1] = append(chains[1], second.Certificate())
	fake := &fakeStream{ctx: auth.NewContext(onConnection(t.Context(), chains), identityOf(alice)), messages: make(chan struct{})}
	ended := make(chan error, 1)
	go func() {
		ended <- supervised(guard, fake, func(_ any, stream grpc.ServerStream) error { return stream.RecvMsg(nil) })
	}()
	w := &world{t: t, guard: guard}
	w.wantUsers("alice")
	source.replace(t, both[1:], nil)
	for ctx := patience(t); guard.Sessions()[0].Expires.After(second.Certificate().NotAfter); runtime.Gosched() {
		if ctx.Err() != nil {
			t.Fatal("the stream still ends with a chain that does not stand")
		}
	}
	clock.set(second.Certificate().NotAfter.Add(time.Second))
	if err := <-ended; reasonOf(err) != auth.CertificateExpired {
		t.Errorf("got %v, want CERTIFICATE_EXPIRED", err)
	}
	close(fake.messages)
	guard.Wait()
}

// A root that is made anew with its key has the validity of the one that is trusted
// now: streams end with it, although the one that their handshakes saw lasts longer.
func TestTheRootOfTodayCounts(t *testing.T) {
	bubble(t, func(t *testing.T, realm *authtest.Realm, alice *authtest.User) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		root := func(lifetime time.Duration) *x509.Certificate {
			der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
				SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, IsCA: true, BasicConstraintsValid: true,
				NotBefore: time.Now(), NotAfter: time.Now().Add(lifetime),
			}, &x509.Certificate{Subject: pkix.Name{CommonName: "root"}}, key.Public(), key)
			if err != nil {
				t.Fatal(err)
			}
			made, err := x509.ParseCertificate(der)
			if err != nil {
				t.Fatal(err)
			}
			return made
		}
		long, short := root(10*time.Hour), root(10*time.Minute)
		guard, source := newFake(t, realm)
		source.replace(t, []*x509.Certificate{long}, nil)
		chains := [][]*x509.Certificate{{alice.Leaf(), long}}
		fake := &fakeStream{ctx: auth.NewContext(onConnection(t.Context(), chains), identityOf(alice)), messages: make(chan struct{})}
		ended := make(chan error, 1)
		go func() {
			ended <- supervised(guard, fake, func(_ any, stream grpc.ServerStream) error { return stream.RecvMsg(nil) })
		}()
		pass(promised)
		source.replace(t, []*x509.Certificate{short}, nil)
		pass(promised)
		if live := guard.Sessions(); len(live) != 1 || !live[0].Expires.Equal(short.NotAfter) {
			t.Errorf("the sessions are %+v, want one until %v", live, short.NotAfter)
		}
		pass(time.Until(short.NotAfter) + promised)
		select {
		case err := <-ended:
			if reasonOf(err) != auth.CertificateExpired {
				t.Errorf("it ended with %v, want CERTIFICATE_EXPIRED", err)
			}
		default:
			t.Error("the stream outlives the root that is trusted")
		}
		close(fake.messages)
		guard.Wait()
	})
}
