package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"securechat/auth"
	"securechat/auth/authtest"
	"securechat/certs"
	authpb "securechat/proto/auth/v1"
	chatpb "securechat/proto/chat"
	"securechat/server"
)

func until(t time.Time) func(*auth.MintClaims) {
	return func(c *auth.MintClaims) { c.Expires = t }
}

// halfAnHour is before a user's token expires: expiry is to the second.
func halfAnHour() time.Time { return time.Now().Add(30 * time.Minute).Truncate(time.Second) }

// events returns a change that has a Conn tell of its events, and where they are.
func events() (func(*Config), <-chan Event) {
	all := make(chan Event, 100)
	return func(c *Config) { c.Events = func(e Event) { all <- e } }, all
}

func next(t *testing.T, all <-chan Event) Event {
	t.Helper()
	select {
	case e := <-all:
		return e
	case <-time.After(patience):
		t.Fatal("no event")
		return nil
	}
}

// A pocket is a source whose token a test replaces.
type pocket struct{ atomic.Pointer[string] }

func (p *pocket) Token(context.Context) (string, error) { return *p.Load(), nil }

func (p *pocket) of(user *authtest.User) func(*Config) {
	p.Store(&user.Token)
	return func(c *Config) { c.Token = p }
}

func wantFailed(t *testing.T, all <-chan Event) RefreshFailed {
	t.Helper()
	failed, ok := next(t, all).(RefreshFailed)
	if !ok {
		t.Fatal("refreshed")
	}
	return failed
}

func wantExpired(t *testing.T, stream *Stream) {
	t.Helper()
	_, err := stream.Receive(patient(t))
	if reason, _ := auth.ReasonOf(err); reason != auth.TokenExpired {
		t.Errorf("got %v, want TOKEN_EXPIRED", err)
	}
}

// counting counts how often each token is verified, and finds one revoked.
type counting struct {
	auth.TokenVerifier
	revoked string

	mu    sync.Mutex
	times map[string]int
}

func (v *counting) Verify(ctx context.Context, token string) (*auth.Claims, error) {
	v.mu.Lock()
	v.times[token]++
	v.mu.Unlock()
	if token == v.revoked {
		return nil, auth.Refuse(auth.TokenRevoked, nil)
	}
	return v.TokenVerifier.Verify(ctx, token)
}

// A revoked token is shown once, and the stream ends when its own expires.
func TestRefreshRevoked(t *testing.T) {
	t.Parallel()
	realm := authtest.NewRealm(t)
	var verifier *counting
	stream, end := inLife(t, 4*time.Second, func(end time.Time) (*Stream, error) {
		user := realm.User("alice", until(end))
		verifier = &counting{TokenVerifier: realm.Verifier(), revoked: user.Mint(), times: map[string]int{}}
		address := startServer(t, realm, func(c *server.Config) { c.Tokens = verifier })
		listen, all := events()
		var source pocket
		conn := dial(t, user, address, listen, source.of(user))
		stream, err := conn.Open(patient(t))
		if err != nil {
			return nil, err
		}
		source.Store(&verifier.revoked)
		due(conn)
		failed, err := nextInLife[RefreshFailed](all, end)
		if reason, _ := auth.ReasonOf(failed.Err); err == nil && (reason != auth.TokenRevoked || !failed.Final) {
			err = fmt.Errorf("got %+v, want a final TOKEN_REVOKED", failed)
		}
		return stream, err
	})
	wantExpired(t, stream)
	if !stream.Expires().Equal(end) {
		t.Errorf("expires %v, want %v", stream.Expires(), end)
	}
	verifier.mu.Lock()
	defer verifier.mu.Unlock()
	if n := verifier.times[verifier.revoked]; n != 1 {
		t.Errorf("shown %d times, want once", n)
	}
}

// A token of another certificate's is refused, finally and without harm.
func TestRefreshBinding(t *testing.T) {
	t.Parallel()
	realm := authtest.NewRealm(t)
	address := startServer(t, realm)
	stream, _ := inLife(t, 4*time.Second, func(end time.Time) (*Stream, error) {
		user := realm.User("alice", until(end))
		listen, all := events()
		var source pocket
		conn := dial(t, user, address, listen, source.of(user))
		stream, err := conn.Open(patient(t))
		if err != nil {
			return nil, err
		}
		other := user.Mint(func(c *auth.MintClaims) { c.Confirmation = &[32]byte{1} })
		source.Store(&other)
		due(conn)
		failed, err := nextInLife[RefreshFailed](all, end)
		if err != nil {
			return nil, err
		}
		if reason, _ := auth.ReasonOf(failed.Err); reason != auth.TokenBinding || !failed.Final {
			return nil, fmt.Errorf("got %+v, want a final TOKEN_BINDING", failed)
		}
		if err := stream.Send(patient(t), "still here"); err != nil {
			return nil, fmt.Errorf("the refusal harmed the stream: %w", err)
		}
		if _, err := stream.Receive(patient(t)); err != nil {
			return nil, fmt.Errorf("the refusal harmed the stream: %w", err)
		}
		return stream, nil
	})
	wantExpired(t, stream)
}

// admitting admits for so long, and then says and hears nothing.
func admitting(expires time.Time) handler {
	return func(stream chatpb.Chat_ChatStreamServer) error {
		header := metadata.Pairs(chatpb.HeaderExpires, expires.UTC().Format(time.RFC3339))
		if err := stream.SendHeader(header); err != nil {
			return err
		}
		<-stream.Context().Done()
		return nil
	}
}

// A server that knows no refresh is asked once.
func TestRefreshUnimplemented(t *testing.T) {
	t.Parallel()
	realm := authtest.NewRealm(t)
	listen, all := events()
	conn := dial(t, realm.User("alice"), startOdd(t, realm, admitting(halfAnHour())), listen)
	open(t, conn)
	due(conn)
	failed := wantFailed(t, all)
	var refusal *Error
	if !errors.As(failed.Err, &refusal) || refusal.Code != codes.Unimplemented || !failed.Final {
		t.Errorf("got %+v, want a final UNIMPLEMENTED", failed)
	}
}

// oddSession does to a Refresh what ours does not.
type oddSession struct {
	authpb.UnimplementedSessionServer
	handler func(context.Context) (*authpb.RefreshResponse, error)
}

func (s oddSession) Refresh(ctx context.Context, _ *authpb.RefreshRequest) (*authpb.RefreshResponse, error) {
	return s.handler(ctx)
}

func startOddSession(t *testing.T, realm *authtest.Realm, h handler, refresh func(context.Context) (*authpb.RefreshResponse, error)) string {
	t.Helper()
	srv := grpc.NewServer(grpc.Creds(certs.ServerCredentials(realm.Server())))
	chatpb.RegisterChatServer(srv, oddChat{handler: h})
	authpb.RegisterSessionServer(srv, oddSession{handler: refresh})
	return realm.Serve(srv)
}

// An answer that says nothing moves nothing.
func TestRefreshAnswer(t *testing.T) {
	t.Parallel()
	realm := authtest.NewRealm(t)
	end := halfAnHour()
	address := startOddSession(t, realm, admitting(end), func(context.Context) (*authpb.RefreshResponse, error) {
		return &authpb.RefreshResponse{Expires: "tomorrow", Streams: 1}, nil
	})
	listen, all := events()
	conn := dial(t, realm.User("alice"), address, listen)
	stream := open(t, conn)
	due(conn)
	if failed := wantFailed(t, all); failed.Final || !stream.Expires().Equal(end) {
		t.Errorf("got %+v and %v", failed, stream.Expires())
	}
}

// Close ends a refresh that is under way.
func TestRefreshClose(t *testing.T) {
	t.Parallel()
	realm := authtest.NewRealm(t)
	reached, left := make(chan struct{}), make(chan struct{})
	address := startOddSession(t, realm, admitting(halfAnHour()), func(ctx context.Context) (*authpb.RefreshResponse, error) {
		close(reached)
		<-ctx.Done()
		close(left)
		return nil, ctx.Err()
	})
	listen, all := events()
	conn := dial(t, realm.User("alice"), address, listen)
	open(t, conn)
	due(conn)
	select {
	case <-reached:
	case <-time.After(patience):
		t.Fatal("no refresh")
	}
	must(t, conn.Close())
	if len(all) > 0 {
		t.Errorf("got %+v after Close", <-all)
	}
	<-left
}

// Close waits for a token source that it has found at work.
func TestRefreshCloseWaits(t *testing.T) {
	t.Parallel()
	realm := authtest.NewRealm(t)
	user := realm.User("alice")
	var asked, left atomic.Int32
	reached := make(chan struct{})
	conn := dial(t, user, startOdd(t, realm, admitting(halfAnHour())), func(c *Config) {
		c.Token = TokenFunc(func(ctx context.Context) (string, error) {
			if asked.Add(1) == 2 {
				close(reached)
				<-ctx.Done()
				<-time.After(50 * time.Millisecond)
				left.Add(1)
			}
			return user.Token, ctx.Err()
		})
	})
	open(t, conn)
	due(conn)
	select {
	case <-reached:
	case <-time.After(patience):
		t.Fatal("not asked")
	}
	must(t, conn.Close())
	if left.Load() != 1 {
		t.Error("Close has returned before the source")
	}
}

// A stream that has ended, on either side, is not refreshed.
func TestRefreshEnded(t *testing.T) {
	realm := authtest.NewRealm(t)
	conn := dial(t, realm.User("alice"), startServer(t, realm))
	live := func() int {
		conn.keeper.mu.Lock()
		defer conn.keeper.mu.Unlock()
		return len(conn.keeper.leases)
	}
	closed, ended := open(t, conn), open(t, conn)
	if live() != 2 {
		t.Fatalf("got %d, want 2", live())
	}
	must(t, closed.Close())
	must(t, ended.CloseSend())
	if _, err := ended.Receive(patient(t)); err != io.EOF {
		t.Errorf("got %v", err)
	}
	if live() != 0 {
		t.Errorf("%d are left", live())
	}
}

// A stream outlives its token because the token file has been replaced, and
// though the source has failed before.
func TestRefresh(t *testing.T) {
	t.Parallel()
	realm := authtest.NewRealm(t)
	second := time.Now().Add(time.Hour).Truncate(time.Second)
	address := startServer(t, realm)
	stream, first := inLife(t, 4*time.Second, func(first time.Time) (*Stream, error) {
		user := realm.User("alice", until(first))
		path := filepath.Join(t.TempDir(), "token")
		must(t, os.WriteFile(path, []byte(user.Token), 0o600))
		var asked atomic.Int32
		flaky := TokenFunc(func(ctx context.Context) (string, error) {
			if asked.Add(1) == 2 { // the first time is for opening
				return "", errors.New("the disk is away")
			}
			return TokenFile(path).Token(ctx)
		})
		listen, all := events()
		stream, err := dial(t, user, address, listen, func(c *Config) { c.Token = flaky }).Open(patient(t))
		if err != nil {
			return nil, err
		}
		if !stream.Expires().Equal(first) {
			t.Fatalf("expires %v, want %v", stream.Expires(), first)
		}
		replace(t, path, []byte(user.Mint(until(second))))
		failed, err := nextInLife[RefreshFailed](all, first)
		if err != nil {
			return nil, err
		}
		if failed.Final || failed.Retry.IsZero() {
			<-time.After(time.Until(first)) // close to which there is no other attempt
			return nil, fmt.Errorf("got %+v, want a failure that is tried again", failed)
		}
		refreshed, err := nextInLife[Refreshed](all, first)
		if err == nil && (!refreshed.Expires.Equal(second) || refreshed.Streams != 1 || !stream.Expires().Equal(second)) {
			t.Fatalf("got %+v and %v, want %v", refreshed, stream.Expires(), second)
		}
		return stream, err
	})
	<-time.After(time.Until(first.Add(1100 * time.Millisecond))) // by when an expired stream has ended
	must(t, stream.Send(patient(t), "still here"))
	if m, err := stream.Receive(patient(t)); err != nil || m.Text != "Acknowledged: still here" {
		t.Errorf("got %+v, %v", m, err)
	}
}

// Streams that come and go, send and only listen, while they are refreshed again and
// again: none ends but by its own half-close.
func TestRefreshRaces(t *testing.T) {
	t.Parallel()
	realm := authtest.NewRealm(t)
	user := realm.User("alice")
	var refreshed atomic.Int32
	conn := dial(t, user, startServer(t, realm), func(c *Config) {
		c.Token = TokenFunc(func(context.Context) (string, error) { return user.Mint(until(time.Now().Add(patience))), nil })
		c.Events = func(e Event) {
			if _, ok := e.(Refreshed); ok {
				refreshed.Add(1)
			}
		}
	})
	listening := open(t, conn)
	first := listening.Expires()
	enough, ctx := time.Now().Add(5*time.Second), patient(t)
	var workers sync.WaitGroup
	over := make(chan struct{})
	var refreshing sync.WaitGroup
	refreshing.Go(func() {
		for {
			select {
			case <-over:
				return
			case <-time.After(10 * time.Millisecond):
				due(conn)
			}
		}
	})
	for range 4 {
		workers.Go(func() {
			for time.Now().Before(enough) || refreshed.Load() == 0 && ctx.Err() == nil {
				stream, err := conn.Open(patient(t))
				if err != nil {
					t.Error(err)
					return
				}
				err = stream.Send(patient(t), "x")
				if err == nil {
					_, err = stream.Receive(patient(t))
				}
				if stream.Expires().IsZero() || err != nil {
					t.Errorf("got %v, %v", stream.Expires(), err)
				}
				_ = stream.Close()
			}
		})
	}
	workers.Wait()
	close(over)
	refreshing.Wait()
	if refreshed.Load() < 1 || !listening.Expires().After(first) {
		t.Errorf("refreshed %d times, until %v", refreshed.Load(), listening.Expires())
	}
	must(t, listening.Send(patient(t), "still here"))
	if _, err := listening.Receive(patient(t)); err != nil {
		t.Error(err)
	}
}
