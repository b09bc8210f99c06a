package auth_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"securechat/auth"
	"securechat/auth/authtest"
	"securechat/certs"
	authpb "securechat/proto/auth/v1"
	chatpb "securechat/proto/chat"
)

// refresh calls Refresh on conn with a token, in place of that which the
// connection sends by itself.
func refresh(t *testing.T, conn *grpc.ClientConn, token string) (*authpb.RefreshResponse, error) {
	t.Helper()
	return authpb.NewSessionClient(conn).Refresh(authorization(patience(t), "Bearer "+token), &authpb.RefreshRequest{})
}

// tokenless is a connection of the user's that sends no token by itself.
func tokenless(user *authtest.User, address string) *grpc.ClientConn {
	bare := *user
	bare.Token = ""
	return bare.Dial(address)
}

func openWith(t *testing.T, conn *grpc.ClientConn, token string) chatpb.Chat_ChatStreamClient {
	t.Helper()
	stream, err := chatpb.NewChatClient(conn).ChatStream(authorization(patience(t), "Bearer "+token))
	if err != nil {
		t.Fatal(err)
	}
	echoed(t, stream, "hello")
	return stream
}

func expiring(at time.Time) func(*auth.MintClaims) {
	return func(c *auth.MintClaims) { c.Expires = at }
}

// A refresh that is refused, or is for somebody else, leaves every stream to end
// when it would have.
func TestRefusedRefreshesChangeNothing(t *testing.T) {
	soon := time.Now().Add(10 * time.Minute).Truncate(time.Second)
	for name, test := range map[string]struct {
		code    codes.Code
		reason  auth.Reason
		attempt func(*testing.T, *world, *authtest.User, *grpc.ClientConn) (*authpb.RefreshResponse, error)
	}{
		"another subject": {codes.Unauthenticated, auth.TokenBinding, func(t *testing.T, w *world, alice *authtest.User, conn *grpc.ClientConn) (*authpb.RefreshResponse, error) {
			return refresh(t, conn, alice.Mint(func(c *auth.MintClaims) { c.Subject = "mallory" }))
		}},
		"another certificate's token": {codes.Unauthenticated, auth.TokenBinding, func(t *testing.T, w *world, _ *authtest.User, conn *grpc.ClientConn) (*authpb.RefreshResponse, error) {
			return refresh(t, conn, w.realm.User("alice").Token)
		}},
		"unbound": {codes.Unauthenticated, auth.TokenUnbound, func(t *testing.T, w *world, alice *authtest.User, conn *grpc.ClientConn) (*authpb.RefreshResponse, error) {
			return refresh(t, conn, alice.Mint(func(c *auth.MintClaims) { c.Confirmation = nil }))
		}},
		"expired": {codes.Unauthenticated, auth.TokenExpired, func(t *testing.T, w *world, alice *authtest.User, conn *grpc.ClientConn) (*authpb.RefreshResponse, error) {
			return refresh(t, conn, alice.Mint(expiring(time.Now().Add(-time.Minute))))
		}},
		"revoked": {codes.Unauthenticated, auth.TokenRevoked, func(t *testing.T, w *world, alice *authtest.User, conn *grpc.ClientConn) (*authpb.RefreshResponse, error) {
			w.source.revoke(t, revocations(t, "jti revoked"))
			return refresh(t, conn, alice.Mint(func(c *auth.MintClaims) { c.ID = "revoked" }))
		}},
		"another key": {codes.Unauthenticated, auth.TokenKeyUnknown, func(t *testing.T, _ *world, alice *authtest.User, conn *grpc.ClientConn) (*authpb.RefreshResponse, error) {
			other := authtest.NewRealm(t)
			thumbprint := certs.Thumbprint(alice.Leaf())
			token, err := other.Signer.Mint(auth.MintClaims{Issuer: authtest.Issuer, Audience: []string{authtest.Audience}, Subject: "alice", Confirmation: &thumbprint})
			if err != nil {
				t.Fatal(err)
			}
			return refresh(t, conn, token)
		}},
		"no token": {codes.Unauthenticated, auth.TokenMissing, func(t *testing.T, _ *world, _ *authtest.User, conn *grpc.ClientConn) (*authpb.RefreshResponse, error) {
			return authpb.NewSessionClient(conn).Refresh(patience(t), &authpb.RefreshRequest{})
		}},
		// Not refused: the caller is who it says. It has no stream there.
		"another connection": {codes.OK, "", func(t *testing.T, w *world, alice *authtest.User, _ *grpc.ClientConn) (*authpb.RefreshResponse, error) {
			return refresh(t, tokenless(alice, w.address), alice.Mint())
		}},
		"another user": {codes.OK, "", func(t *testing.T, w *world, _ *authtest.User, _ *grpc.ClientConn) (*authpb.RefreshResponse, error) {
			bob := w.realm.User("bob")
			return refresh(t, tokenless(bob, w.address), bob.Token)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, floods)
			alice := w.realm.User("alice")
			conn := tokenless(alice, w.address)
			stream := openWith(t, conn, alice.Mint(expiring(soon)))
			before := w.guard.Sessions()
			answer, err := test.attempt(t, w, alice, conn)
			switch {
			case test.code != codes.OK:
				wantRefusal(t, err, test.code, test.reason)
			case err != nil || answer.Streams != 0:
				t.Fatalf("refreshed %v, %v, want no stream", answer, err)
			}
			if after := w.guard.Sessions(); !slices.Equal(after, before) {
				t.Errorf("the sessions are %v, were %v", after, before)
			}
			echoed(t, stream, "still here")
			w.clock.set(soon)
			wantRefusal(t, drained(stream), codes.Unauthenticated, auth.TokenExpired)
		})
	}
}

// A stream lives on to the new token's expiry, and stands and falls with the new
// token; a stream that has ended is not revived.
func TestRefreshExtendsStreams(t *testing.T) {
	soon := time.Now().Add(10 * time.Minute).Truncate(time.Second)
	later := soon.Add(20 * time.Minute)
	w := newWorld(t, floods)
	alice := w.realm.User("alice")
	conn := tokenless(alice, w.address)
	first := alice.Mint(expiring(soon), func(c *auth.MintClaims) { c.ID = "first" })
	one, two := openWith(t, conn, first), openWith(t, conn, first)
	elsewhere := openWith(t, tokenless(alice, w.address), first)

	answer, err := refresh(t, conn, alice.Mint(expiring(later), func(c *auth.MintClaims) { c.ID = "second" }))
	if err != nil || answer.Streams != 2 || answer.Expires != later.UTC().Format(time.RFC3339) {
		t.Fatalf("refreshed %v, %v, want 2 streams until %v", answer, err, later)
	}
	w.clock.set(soon)
	wantRefusal(t, drained(elsewhere), codes.Unauthenticated, auth.TokenExpired)
	w.source.revoke(t, revocations(t, "jti first"))
	echoed(t, one, "past the first expiry")
	echoed(t, two, "past the first expiry")
	w.source.revoke(t, revocations(t, "jti second"))
	wantRefusal(t, drained(one), codes.Unauthenticated, auth.TokenRevoked)
	wantRefusal(t, drained(two), codes.Unauthenticated, auth.TokenRevoked)
	w.wantUsers()
	if answer, err := refresh(t, conn, alice.Mint(expiring(later))); err != nil || answer.Streams != 0 {
		t.Errorf("refreshed %v, %v, want no stream", answer, err)
	}
}

// A refresh between a stream's expiry and the look that ends it comes too late.
func TestRefreshRevivesNothing(t *testing.T) {
	bubble(t, func(t *testing.T, realm *authtest.Realm, alice *authtest.User) {
		guard, _ := newFake(t, realm)
		chains := chainsOf(realm, alice)
		id := identityOf(alice)
		id.Expires = time.Now().Add(150 * time.Millisecond)
		fake := &fakeStream{ctx: auth.NewContext(onConnection(t.Context(), chains), id), messages: make(chan struct{})}
		ended := make(chan error, 1)
		go func() {
			ended <- supervised(guard, fake, func(_ any, stream grpc.ServerStream) error { return stream.RecvMsg(nil) })
		}()
		pass(160 * time.Millisecond)
		answer, err := guard.SessionServer().Refresh(auth.NewContext(onConnection(t.Context(), chains), identityOf(alice)), &authpb.RefreshRequest{})
		if err != nil || answer.Streams != 0 {
			t.Errorf("refreshed %v, %v, want no stream", answer, err)
		}
		if err := <-ended; reasonOf(err) != auth.TokenExpired {
			t.Errorf("it ended with %v, want TOKEN_EXPIRED", err)
		}
		close(fake.messages)
		guard.Wait()
	})
}

// A refresh that crosses a revocation does not keep a stream alive: neither one with
// a token that was revoked after it had been verified, however long ago every
// session was held against that, nor one of a stream that ought to have ended.
func TestRefreshesThatCrossARevocation(t *testing.T) {
	for name, test := range map[string]struct {
		revoked string
		looked  time.Duration // what passes between the revocation and the refresh
	}{
		"the new token":               {"jti second", 2 * promised},
		"the new token, at once":      {"jti second", 0},
		"the old token, not seen yet": {"jti first", 0},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, realm *authtest.Realm, alice *authtest.User) {
				guard, source := newFake(t, realm)
				chains := chainsOf(realm, alice)
				first, second := identityOf(alice), identityOf(alice)
				first.TokenID, second.TokenID = "first", "second"
				fake := &fakeStream{ctx: auth.NewContext(onConnection(t.Context(), chains), first), messages: make(chan struct{})}
				ended := make(chan error, 1)
				go func() {
					ended <- supervised(guard, fake, func(_ any, stream grpc.ServerStream) error { return stream.RecvMsg(nil) })
				}()
				pass(promised)
				source.revoke(t, revocations(t, test.revoked))
				pass(test.looked)
				answer, err := guard.SessionServer().Refresh(auth.NewContext(onConnection(t.Context(), chains), second), &authpb.RefreshRequest{})
				if err != nil || answer.Streams != 0 {
					t.Errorf("refreshed %v, %v, want no stream", answer, err)
				}
				pass(promised)
				select {
				case err := <-ended:
					if reasonOf(err) != auth.TokenRevoked {
						t.Errorf("it ended with %v, want TOKEN_REVOKED", err)
					}
				default:
					t.Error("the stream lives on")
					guard.End(guard.Sessions()[0].ID)
				}
				close(fake.messages)
				guard.Wait()
			})
		})
	}
}

// What is another caller's on the same connection is left alone: where a certificate
// names no user of ours, tokens of several may come with it.
func TestRefreshIsForOneCaller(t *testing.T) {
	for name, other := range map[string]func(mine, fresh *auth.Identity){
		"another user":        func(_, fresh *auth.Identity) { fresh.User = "bob" },
		"another issuer":      func(_, fresh *auth.Identity) { fresh.Issuer = "https://other.test" },
		"another certificate": func(_, fresh *auth.Identity) { fresh.Thumbprint[0] ^= 1 },
		"neither has a token": func(mine, fresh *auth.Identity) { mine.Issuer, fresh.Issuer = "", "" },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, realm *authtest.Realm, alice *authtest.User) {
				guard, _ := newFake(t, realm, func(c *auth.Config) { c.Policy = auth.Policy{chatStream: auth.CertificateOnly()} })
				chains := chainsOf(realm, alice)
				mine, fresh := identityOf(alice), identityOf(alice)
				fresh.Expires = mine.Expires.Add(time.Hour)
				other(&mine, &fresh)
				fake := &fakeStream{ctx: auth.NewContext(onConnection(t.Context(), chains), mine), messages: make(chan struct{})}
				ended := make(chan error, 1)
				go func() {
					ended <- supervised(guard, fake, func(_ any, stream grpc.ServerStream) error { return stream.RecvMsg(nil) })
				}()
				pass(promised)
				answer, err := guard.SessionServer().Refresh(auth.NewContext(onConnection(t.Context(), chains), fresh), &authpb.RefreshRequest{})
				if err != nil || answer.Streams != 0 {
					t.Errorf("refreshed %v, %v, want no stream", answer, err)
				}
				if live := guard.Sessions(); len(live) != 1 || !live[0].Expires.Equal(mine.Expires) || live[0].User != mine.User {
					t.Errorf("the sessions are %+v, want that of %s until %v", live, mine.User, mine.Expires)
				}
				close(fake.messages)
				<-ended
				guard.Wait()
			})
		})
	}
}

// A refresh meets every stream that is left on the connection, and a token that
// expires sooner than the one before ends them sooner.
func TestRefreshCanShorten(t *testing.T) {
	bubble(t, func(t *testing.T, realm *authtest.Realm, alice *authtest.User) {
		guard, _ := newFake(t, realm)
		chains := chainsOf(realm, alice)
		begin := func() (messages chan struct{}, ended chan error) {
			messages, ended = make(chan struct{}), make(chan error, 1)
			fake := &fakeStream{ctx: auth.NewContext(onConnection(t.Context(), chains), identityOf(alice)), messages: messages}
			go func() {
				ended <- supervised(guard, fake, func(_ any, stream grpc.ServerStream) error { return stream.RecvMsg(nil) })
			}()
			pass(promised)
			return messages, ended
		}
		messages, stays := begin()
		leave, left := begin()
		close(leave)
		<-left
		sooner := identityOf(alice)
		sooner.Expires = time.Now().Add(time.Minute)
		answer, err := guard.SessionServer().Refresh(auth.NewContext(onConnection(t.Context(), chains), sooner), &authpb.RefreshRequest{})
		if err != nil || answer.Streams != 1 {
			t.Errorf("refreshed %v, %v, want one stream", answer, err)
		}
		pass(time.Minute + promised)
		select {
		case err := <-stays:
			if reasonOf(err) != auth.TokenExpired {
				t.Errorf("it ended with %v, want TOKEN_EXPIRED", err)
			}
		default:
			t.Error("the stream outlives the new token")
		}
		close(messages)
		guard.Wait()
	})
}

// The longest session binds however often the token is refreshed.
func TestRefreshDoesNotOutlastTheLongestSession(t *testing.T) {
	w := newWorld(t, floods, func(c *auth.Config) { c.MaxSession = 10 * time.Minute })
	alice := w.realm.User("alice")
	conn := tokenless(alice, w.address)
	stream := openWith(t, conn, alice.Token)
	began := w.guard.Sessions()[0].Started
	if answer, err := refresh(t, conn, alice.Mint(expiring(time.Now().Add(2*time.Hour)))); err != nil || answer.Streams != 1 {
		t.Fatalf("refreshed %v, %v, want one stream", answer, err)
	}
	if got := w.guard.Sessions()[0].Expires; !got.Equal(began.Add(10 * time.Minute)) {
		t.Errorf("it expires at %v, want 10 minutes after %v", got, began)
	}
	w.clock.set(began.Add(10 * time.Minute))
	wantRefusal(t, drained(stream), codes.Unauthenticated, auth.SessionExpired)
}

// Rights are those that both tokens give: fewer at once, never more.
func TestRefreshNarrowsAndNeverWidens(t *testing.T) {
	grants := func(scopes, rooms []string) func(*auth.MintClaims) {
		return func(c *auth.MintClaims) { c.Scopes, c.Rooms = scopes, rooms }
	}
	for name, test := range map[string]struct {
		scopes, rooms [3][]string // first token, second token, what they give
	}{
		"wider":              {scopes: [3][]string{{"r"}, {"r", "w"}, {"r"}}, rooms: [3][]string{{"lobby"}, {"*"}, {"lobby"}}},
		"narrower":           {scopes: [3][]string{{"r", "w"}, {"r"}, {"r"}}, rooms: [3][]string{{"*"}, {"team-*", "lobby"}, {"team-*", "lobby"}}},
		"other":              {scopes: [3][]string{{"w", "r"}, {"x", "r"}, {"r"}}, rooms: [3][]string{{"a"}, {"b"}, nil}},
		"a name in a glob":   {scopes: [3][]string{{"r"}, {"r"}, {"r"}}, rooms: [3][]string{{"team-*"}, {"team-1", "other"}, {"team-1"}}},
		"a glob for a name":  {scopes: [3][]string{{"r"}, {"r"}, {"r"}}, rooms: [3][]string{{"team-1", "x"}, {"team-*"}, {"team-1"}}},
		"globs that overlap": {scopes: [3][]string{{"r"}, {"r"}, {"r"}}, rooms: [3][]string{{"a*"}, {"*b"}, nil}},
		"everything named":   {scopes: [3][]string{{"r"}, {"r"}, {"r"}}, rooms: [3][]string{{"*"}, {"a/*", "[^a]x", "ok", "@bob"}, {"a/*", "[^a]x", "ok"}}},
	} {
		t.Run(name, func(t *testing.T) {
			seen := make(chan auth.Identity, 2)
			w := newWorld(t, func(stream chatpb.Chat_ChatStreamServer) error {
				for {
					m, err := stream.Recv()
					if err != nil {
						return err
					}
					id, _ := auth.FromContext(stream.Context())
					seen <- id
					if err := stream.Send(m); err != nil {
						return err
					}
				}
			})
			alice := w.realm.User("alice")
			conn := tokenless(alice, w.address)
			stream := openWith(t, conn, alice.Mint(grants(test.scopes[0], test.rooms[0])))
			<-seen
			if answer, err := refresh(t, conn, alice.Mint(grants(test.scopes[1], test.rooms[1]))); err != nil || answer.Streams != 1 {
				t.Fatalf("refreshed %v, %v", answer, err)
			}
			echoed(t, stream, "after")
			got := <-seen
			slices.Sort(got.Rooms)
			slices.Sort(test.rooms[2])
			if !slices.Equal(got.Scopes, test.scopes[2]) || !slices.Equal(got.Rooms, test.rooms[2]) {
				t.Errorf("it may %v in %v, want %v in %v", got.Scopes, got.Rooms, test.scopes[2], test.rooms[2])
			}
			for _, glob := range got.Rooms {
				if !auth.MatchRoom(test.rooms[0][0], glob) && !slices.Contains(test.rooms[0], glob) {
					t.Errorf("%q is more than %v", glob, test.rooms[0])
				}
			}
		})
	}
}

// A stream that its rights do not carry any more ends at once.
func TestRefreshEndsWhatItNoLongerCarries(t *testing.T) {
	w := newWorld(t, floods, func(c *auth.Config) {
		c.Policy = auth.Policy{chatStream: auth.Scopes("read"), auth.RefreshMethod: auth.Rule{}}
	})
	alice := w.realm.User("alice")
	conn := tokenless(alice, w.address)
	stream := openWith(t, conn, alice.Mint(func(c *auth.MintClaims) { c.Scopes = []string{"read"} }))
	if answer, err := refresh(t, conn, alice.Mint()); err != nil || answer.Streams != 0 {
		t.Errorf("refreshed %v, %v, want no stream", answer, err)
	}
	wantRefusal(t, drained(stream), codes.PermissionDenied, auth.ScopeMissing)
}

// Refreshes, policies, revocations, new streams and drains at once: nothing is
// missed, whatever comes first.
func TestChangesAtOnce(t *testing.T) {
	w := newWorld(t, floods)
	alice := w.realm.User("alice")
	conn := tokenless(alice, w.address)
	streams := []chatpb.Chat_ChatStreamClient{openWith(t, conn, alice.Token), openWith(t, conn, alice.Token)}
	soon := time.Now().Add(30 * time.Minute).Truncate(time.Second)
	var working sync.WaitGroup
	for range 4 {
		working.Go(func() {
			for range 10 {
				if _, err := refresh(t, conn, alice.Mint(expiring(soon))); err != nil {
					t.Errorf("refresh: %v", err)
				}
			}
		})
	}
	working.Go(func() {
		for range 50 {
			w.guard.SetPolicy(auth.Policy{chatStream: auth.Rule{}, auth.RefreshMethod: auth.Rule{}})
			w.source.revoke(t, revocations(t, "subject nobody"))
			_ = w.guard.Sessions()
		}
	})
	working.Go(func() {
		for range 10 {
			stream := openWith(t, conn, alice.Token)
			if err := stream.CloseSend(); err != nil {
				t.Error(err)
			}
			_ = drained(stream)
		}
	})
	working.Wait()
	for _, stream := range streams {
		echoed(t, stream, "alive")
	}
	w.clock.set(soon)
	for _, stream := range streams {
		wantRefusal(t, drained(stream), codes.Unauthenticated, auth.TokenExpired)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	w.guard.Drain(ctx, time.Second)
}
