package clienttest_test

import (
	"context"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"securechat/auth/authtest"
	"securechat/client"
	"securechat/client/clienttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A stream that comes while the test ends is waited for as well: the race detector
// sees one that is not.
func TestServerEndsWithTheTest(t *testing.T) {
	realm := authtest.NewRealm(t)
	alice := realm.User("alice")
	for range 50 {
		t.Run("", func(t *testing.T) { endAmongJoins(t, realm, alice) })
	}
}

func endAmongJoins(t *testing.T, realm *authtest.Realm, alice *authtest.User) {
	var joins sync.WaitGroup
	leave := func() {}
	t.Cleanup(func() { leave() }) // after the server's
	server := clienttest.New(t, realm)
	conn, err := client.Dial(client.Config{
		Server: server.Address(), ServerName: authtest.ServerName, Certificates: alice.Certificates,
		Token: client.TokenFunc(func(context.Context) (string, error) { return alice.Token, nil }),
	})
	if err != nil {
		t.Fatal(err)
	}
	leave = func() {
		joins.Wait()
		_ = conn.Close()
	}
	joined := make(chan struct{}, 20)
	for range cap(joined) {
		joins.Go(func() {
			for {
				room, err := conn.Join(context.Background(), "ops")
				select {
				case joined <- struct{}{}:
				default:
				}
				if err != nil { // the server has ended
					return
				}
				_ = room.Close()
			}
		})
	}
	<-joined
}
