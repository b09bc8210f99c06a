package auth_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"securechat/auth"
	"securechat/auth/authtest"
	"securechat/certs"
	authpb "securechat/proto/auth/v1"
	chatpb "securechat/proto/chat"
)

// promised is how long after a change a stream may still live.
const promised = time.Second

// swapped is a source whose material a test replaces.
type swapped struct {
	current atomic.Pointer[certs.Material]
}

func (s *swapped) set(m *certs.Material)     { s.current.Store(m) }
func (s *swapped) Material() *certs.Material { return s.current.Load() }

// revoke puts revocations in force.
func (s *swapped) revoke(t *testing.T, revocations *certs.Revocations) {
	t.Helper()
	s.replace(t, s.Material().Roots(), revocations)
}

func (s *swapped) replace(t *testing.T, roots []*x509.Certificate, revocations *certs.Revocations) {
	t.Helper()
	m, err := certs.NewMaterial(s.Material().Certificate(), roots, revocations)
	if err != nil {
		t.Fatal(err)
	}
	s.set(m)
}

func revocations(t *testing.T, text string) *certs.Revocations {
	t.Helper()
	r, err := certs.ParseRevocations([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// clock is the machine's, so much ahead as a test sets it.
type clock struct{ ahead atomic.Int64 }

func (c *clock) set(to time.Time) { c.ahead.Store(int64(time.Until(to))) }
func (c *clock) now() time.Time   { return time.Now().Add(time.Duration(c.ahead.Load())) }

// A world is a guarded chat service over real mutual TLS, and all that its
// sessions rest on.
type world struct {
	t        *testing.T
	realm    *authtest.Realm
	source   *swapped
	clock    *clock
	keysFile string
	guard    *auth.Guard
	server   *grpc.Server
	address  string
}

// newWorld serves the flood, or what handle does, to the realm's users.
func newWorld(t *testing.T, handle func(chatpb.Chat_ChatStreamServer) error, change ...func(*auth.Config)) *world {
	t.Helper()
	w := &world{t: t, realm: authtest.NewRealm(t), source: &swapped{}, clock: &clock{}}
	w.source.set(w.realm.Server())
	w.keysFile = filepath.Join(t.TempDir(), "jwks.json")
	w.writeKeys(w.realm.Signer)
	keys, err := auth.KeyFile(w.keysFile, auth.KeyLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = keys.Close() })
	verifier, err := auth.NewVerifier(auth.VerifierConfig{
		Issuers: []auth.Issuer{{Name: authtest.Issuer, Audience: authtest.Audience, Keys: keys}},
		Now:     w.clock.now,
	})
	if err != nil {
		t.Fatal(err)
	}
	config := auth.Config{
		Certificates: w.source, Tokens: verifier, Now: w.clock.now, Log: slog.New(slog.DiscardHandler),
		Policy: auth.Policy{chatStream: auth.Rule{}, auth.RefreshMethod: auth.Rule{}},
	}
	for _, c := range change {
		c(&config)
	}
	if w.guard, err = auth.New(config); err != nil {
		t.Fatal(err)
	}
	w.server = grpc.NewServer(append(w.guard.ServerOptions(), grpc.Creds(certs.ServerCredentials(w.source)))...)
	chatpb.RegisterChatServer(auth.Registrar(w.server), handlerFunc{handle: handle})
	authpb.RegisterSessionServer(auth.Registrar(w.server), w.guard.SessionServer())
	t.Cleanup(w.guard.Wait)
	w.address = w.realm.Serve(w.server)
	return w
}

func (w *world) writeKeys(signers ...*auth.Signer) {
	w.t.Helper()
	jwks, err := auth.MarshalKeySet(signers...)
	if err != nil {
		w.t.Fatal(err)
	}
	staged := w.keysFile + ".new"
	if err := os.WriteFile(staged, jwks, 0o600); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Rename(staged, w.keysFile); err != nil {
		w.t.Fatal(err)
	}
}

// handlerFunc is a chat service of one function.
type handlerFunc struct {
	chatpb.UnimplementedChatServer
	handle func(chatpb.Chat_ChatStreamServer) error
}

func (h handlerFunc) ChatStream(stream chatpb.Chat_ChatStreamServer) error { return h.handle(stream) }

// floods answers every message with itself, and "flood" with more than a client
// that does not read can take.
func floods(stream chatpb.Chat_ChatStreamServer) error {
	for {
		m, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		for {
			if err := stream.Send(m); err != nil {
				return err
			}
			if m.Message != "flood" {
				break
			}
			m = &chatpb.ChatMessage{Message: "flood", Id: string(make([]byte, 16<<10))}
		}
	}
}

// open opens a stream on conn and sees that it lives.
func open(t *testing.T, conn *grpc.ClientConn) chatpb.Chat_ChatStreamClient {
	t.Helper()
	stream, err := chatpb.NewChatClient(conn).ChatStream(patience(t))
	if err != nil {
		t.Fatal(err)
	}
	echoed(t, stream, "hello")
	return stream
}

// echoed sends a text and sees it come back.
func echoed(t *testing.T, stream chatpb.Chat_ChatStreamClient, text string) {
	t.Helper()
	if err := stream.Send(&chatpb.ChatMessage{Message: text}); err != nil {
		t.Fatalf("sending %q: %v", text, err)
	}
	if m, err := stream.Recv(); err != nil || m.Message != text {
		t.Fatalf("got %v, %v, want %q", m, err, text)
	}
}

// drained reads until the stream ends.
func drained(stream chatpb.Chat_ChatStreamClient) error {
	for {
		if _, err := stream.Recv(); err != nil {
			return err
		}
	}
}

// fakeStream is a stream without a transport. Nothing arrives on it but what a
// test sends to messages, and sends wait for sending, if there is one.
type fakeStream struct {
	grpc.ServerStream
	ctx      context.Context
	messages chan struct{}
	sending  chan struct{}
	received atomic.Int64 // RecvMsg calls that reached the transport
	sent     atomic.Int64 // SendMsg and SendHeader calls that did
}

func (s *fakeStream) Context() context.Context { return s.ctx }

func (s *fakeStream) RecvMsg(any) error {
	s.received.Add(1)
	if _, open := <-s.messages; !open {
		return io.EOF
	}
	return nil
}

func (s *fakeStream) SendMsg(any) error {
	s.sent.Add(1)
	if s.sending != nil {
		<-s.sending
	}
	return nil
}

func (s *fakeStream) SendHeader(metadata.MD) error {
	s.sent.Add(1)
	return nil
}

// chainsOf are a user's chains as TLS has verified them on one connection.
func chainsOf(realm *authtest.Realm, user *authtest.User) [][]*x509.Certificate {
	return [][]*x509.Certificate{{user.Leaf(), realm.CA.Certificate()}}
}

// onConnection is the context of a call on the connection of those chains.
func onConnection(ctx context.Context, chains [][]*x509.Certificate) context.Context {
	return peer.NewContext(ctx, &peer.Peer{
		Addr:     &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 4711},
		AuthInfo: credentials.TLSInfo{State: tls.ConnectionState{VerifiedChains: chains}},
	})
}

// trusting accepts no token itself: its tests put the identity in the context.
type trusting struct{}

func (trusting) Verify(context.Context, string) (*auth.Claims, error) {
	return nil, auth.Refusef(auth.TokenMalformed, "none is expected")
}

// identityOf is what a token of an hour would give.
func identityOf(user *authtest.User) auth.Identity {
	return auth.Identity{
		User: user.Name, Thumbprint: certs.Thumbprint(user.Leaf()), Issuer: authtest.Issuer, TokenID: "jti-" + user.Name,
		Expires: time.Now().Add(time.Hour), ExpiresBy: auth.TokenExpired,
	}
}

// newFake returns a guard without a server, for fake streams.
func newFake(t *testing.T, realm *authtest.Realm, change ...func(*auth.Config)) (*auth.Guard, *swapped) {
	t.Helper()
	source := &swapped{}
	source.set(realm.Server())
	config := auth.Config{Certificates: source, Tokens: trusting{}, Policy: auth.Policy{chatStream: auth.Rule{}}, Log: slog.New(slog.DiscardHandler)}
	for _, c := range change {
		c(&config)
	}
	guard, err := auth.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return guard, source
}

// supervised runs a handler behind the guard's supervision.
func supervised(guard *auth.Guard, stream grpc.ServerStream, handler grpc.StreamHandler) error {
	info := &grpc.StreamServerInfo{FullMethod: chatStream, IsClientStream: true, IsServerStream: true}
	return guard.Supervise().Stream(nil, stream, info, handler)
}
