package auth_test

import (
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"securechat/auth"
	"securechat/auth/authtest"
	authpb "securechat/proto/auth/v1"
)

// idle begins n streams that only wait, of two users in turn, each on a
// connection of its own. The handlers return when messages is closed.
func idle(tb testing.TB, guard *auth.Guard, realm *authtest.Realm, n int, messages chan struct{}) map[string]chan error {
	tb.Helper()
	ended := make(map[string]chan error)
	users := []*authtest.User{realm.User("alice"), realm.User("bob")}
	for i := range n {
		user := users[i%len(users)]
		if ended[user.Name] == nil {
			ended[user.Name] = make(chan error, n)
		}
		id := identityOf(user)
		id.TokenID = fmt.Sprintf("token-%d", i)
		fake := &fakeStream{ctx: auth.NewContext(onConnection(tb.Context(), chainsOf(realm, user)), id), messages: messages}
		result := ended[user.Name]
		go func() {
			result <- supervised(guard, fake, func(_ any, stream grpc.ServerStream) error { return stream.RecvMsg(nil) })
		}()
	}
	for len(guard.Sessions()) < n {
		runtime.Gosched()
	}
	return ended
}

// A revocation reaches all of many idle streams that it concerns within a
// second, and no other.
func TestRevocationReachesManySessions(t *testing.T) {
	realm := authtest.NewRealm(t)
	guard, source := newFake(t, realm)
	messages := make(chan struct{})
	ended := idle(t, guard, realm, many, messages)
	began := time.Now()
	source.revoke(t, revocations(t, "subject alice"))
	for range many / 2 {
		if err := <-ended["alice"]; reasonOf(err) != auth.TokenRevoked {
			t.Fatalf("it ended with %v, want TOKEN_REVOKED", err)
		}
	}
	took := time.Since(began)
	t.Logf("%d of %d streams ended within %v", many/2, many, took)
	if took > promised {
		t.Errorf("the last ended after %v, want %v at most", took, promised)
	}
	if live := len(guard.Sessions()); live != many/2 {
		t.Errorf("%d streams live on, want %d", live, many/2)
	}
	close(messages)
	for range many / 2 {
		if err := <-ended["bob"]; reasonOf(err) != "" {
			t.Fatalf("a stream of bob's ended with %v", err)
		}
	}
	guard.Wait()
}

// A refresh costs what its own connection's streams cost, and not what all do: a
// client may ask for one as often as it likes.
func TestRefreshIsNoDearerAmongMany(t *testing.T) {
	bubble(t, func(t *testing.T, realm *authtest.Realm, alice *authtest.User) {
		const others, refreshes = 1000, 100
		guard, _ := newFake(t, realm)
		messages := make(chan struct{})
		ended := idle(t, guard, realm, others, messages)
		refresher := guard.SessionServer()
		ctx := auth.NewContext(onConnection(t.Context(), chainsOf(realm, alice)), identityOf(alice))
		synctest.Wait() // for what their handlers still begin with
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range refreshes {
			if _, err := refresher.Refresh(ctx, &authpb.RefreshRequest{}); err != nil {
				t.Fatal(err)
			}
		}
		runtime.ReadMemStats(&after)
		if each := (after.TotalAlloc - before.TotalAlloc) / refreshes; each > others {
			t.Errorf("a refresh of no stream takes %d bytes among %d streams of others", each, others)
		}
		close(messages)
		for _, results := range ended {
			for range others / 2 {
				<-results
			}
		}
		guard.Wait()
	})
}

// BenchmarkIdleSessions says what supervision costs while nothing happens: bytes
// for each idle stream, with the stacks of its two goroutines and what the test
// has for it.
func BenchmarkIdleSessions(b *testing.B) {
	realm := authtest.NewRealm(b)
	config := auth.Config{Certificates: realm.Server(), Tokens: trusting{}, Policy: auth.Policy{chatStream: auth.Rule{}}}
	guard, err := auth.New(config)
	if err != nil {
		b.Fatal(err)
	}
	memory := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	for b.Loop() {
		before, messages := memory(), make(chan struct{})
		ended := idle(b, guard, realm, many, messages)
		b.ReportMetric(float64(memory()-before)/many, "B/stream")
		close(messages)
		for _, results := range ended {
			for range many / 2 {
				<-results
			}
		}
		guard.Wait()
	}
}
