package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"securechat/auth"
	"securechat/auth/authtest"
	"securechat/certs"
	"securechat/client/clienttest"
	"securechat/cmd/internal/contexts"
	"securechat/cmd/internal/telemetry/telemetrytest"
	chatpb "securechat/proto/chat"
	"securechat/server"
	"securechat/server/room/roomtest"
)

// leakFree is the tests with goleak after them. The commands that scripts run are
// processes of their own.
type leakFree struct{ *testing.M }

func (m leakFree) Run() int {
	code := m.M.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		os.Stderr.WriteString(err.Error() + "\n")
		return 1
	}
	return code
}

func TestMain(m *testing.M) {
	testscript.Main(leakFree{m}, map[string]func(){"chat": main})
}

// A world has servers of one realm, for all scripts.
type world struct {
	realm  *authtest.Realm
	server string // the real one
	mute   string // neither admits nor refuses
	stuck  string // admits, and acknowledges nothing
	curt   string // acknowledges one message, and ends the stream in good order
	denies string
	silent string // keeps rooms, and stores nothing
	down   string // nobody is there
	sink   *telemetrytest.Sink
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{realm: authtest.NewRealm(t), sink: telemetrytest.NewSink(t)}
	w.server = startServer(t, w.realm)
	w.mute = w.startOdd(func(stream chatpb.Chat_ChatStreamServer) error {
		<-stream.Context().Done()
		return nil
	})
	w.stuck = w.startOdd(func(stream chatpb.Chat_ChatStreamServer) error {
		if err := stream.SendHeader(nil); err != nil {
			return err
		}
		<-stream.Context().Done()
		return nil
	})
	w.curt = w.startOdd(func(stream chatpb.Chat_ChatStreamServer) error {
		if err := stream.SendHeader(nil); err != nil {
			return err
		}
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		return stream.Send(&chatpb.ChatMessage{Message: "Acknowledged: " + m.Message, Id: m.Id})
	})
	w.denies = w.startOdd(func(chatpb.Chat_ChatStreamServer) error {
		return status.Error(codes.PermissionDenied, "not you")
	})
	quiet := clienttest.New(t, w.realm)
	quiet.Fault(func(m clienttest.Moment) error {
		if m == clienttest.Received {
			return status.Error(codes.Unavailable, "a fault of the test's")
		}
		return nil
	})
	w.silent = quiet.Address()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, closed.Close())
	w.down = closed.Addr().String()
	return w
}

func startServer(t *testing.T, realm *authtest.Realm) string {
	t.Helper()
	srv, err := server.New(server.Config{
		Certificates: realm.Server(), Tokens: realm.Verifier(), Log: slog.New(slog.DiscardHandler),
		Rooms: server.Rooms{Log: roomtest.NewMemory()},
	})
	must(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(listener) }()
	t.Cleanup(func() {
		now, cancel := context.WithCancel(context.Background())
		cancel()
		srv.Shutdown(now)
		must(t, <-served)
	})
	return listener.Addr().String()
}

type oddChat struct {
	chatpb.UnimplementedChatServer
	handler func(chatpb.Chat_ChatStreamServer) error
}

func (c oddChat) ChatStream(stream chatpb.Chat_ChatStreamServer) error { return c.handler(stream) }

func (w *world) startOdd(handler func(chatpb.Chat_ChatStreamServer) error) string {
	srv := grpc.NewServer(grpc.Creds(certs.ServerCredentials(w.realm.Server())))
	chatpb.RegisterChatServer(srv, oddChat{handler: handler})
	return w.realm.Serve(srv)
}

// furnish gives a script its files, the context alice, which is current, and the
// addresses of the servers.
func (w *world) furnish(t *testing.T, env *testscript.Env) {
	write := func(name string, text []byte, mode os.FileMode) {
		must(t, os.WriteFile(filepath.Join(env.WorkDir, name), text, mode))
	}
	issue := func(base string, ca *certs.CA, options certs.IssueOptions) *certs.Issued {
		issued, err := ca.IssueUser("alice", options)
		must(t, err)
		key, err := issued.KeyPEM()
		must(t, err)
		write(base+".crt", issued.ChainPEM(), 0o644)
		write(base+".key", key, 0o600)
		return issued
	}
	foreign, err := certs.NewCA(certs.CAOptions{Name: "foreign CA", TrustDomain: authtest.TrustDomain})
	must(t, err)
	issue("foreign", foreign, certs.IssueOptions{})
	issue("ending", w.realm.CA, certs.IssueOptions{Lifetime: time.Hour})
	write("foreign-ca.crt", foreign.CertificatePEM(), 0o644)
	write("ca.crt", w.realm.CA.CertificatePEM(), 0o644)

	thumbprint := certs.Thumbprint(issue("alice", w.realm.CA, certs.IssueOptions{}).Certificate())
	mint := func(name string, change func(*auth.MintClaims)) {
		claims := auth.MintClaims{
			Issuer: authtest.Issuer, Audience: []string{authtest.Audience}, Subject: "alice", ID: "token-1",
			Scopes: []string{"chat:read", "chat:write"}, Rooms: []string{"ops", "many", "odd", "who", "typed", "@bob"},
			Expires: time.Now().Add(90 * time.Minute), Confirmation: &thumbprint,
		}
		change(&claims)
		token, err := w.realm.Signer.Mint(claims)
		must(t, err)
		write(name, []byte(token+"\n"), 0o600)
	}
	mint("alice.token", func(*auth.MintClaims) {})
	mint("expired.token", func(c *auth.MintClaims) {
		c.IssuedAt, c.Expires = time.Now().Add(-3*time.Hour), time.Now().Add(-150*time.Minute)
	})
	mint("other.token", func(c *auth.MintClaims) { c.Confirmation = &[32]byte{1} })

	// The race detector would have each process wait a second before it exits.
	env.Setenv("GORACE", "atexit_sleep_ms=0")
	env.Setenv("HOME", filepath.Join(env.WorkDir, "home"))
	env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, "config"))
	env.Setenv("SERVER", w.server)
	env.Setenv("MUTE", w.mute)
	env.Setenv("STUCK", w.stuck)
	env.Setenv("CURT", w.curt)
	env.Setenv("DENIES", w.denies)
	env.Setenv("SILENT", w.silent)
	env.Setenv("DOWN", w.down)
	env.Setenv("SINK", w.sink.URL())

	file := func(name string) string { return filepath.Join(env.WorkDir, name) }
	store := contexts.In(filepath.Join(env.WorkDir, "config", "securechat", "contexts"))
	must(t, store.Save("alice", contexts.Context{
		Server: w.server, CA: file("ca.crt"), Cert: file("alice.crt"), Key: file("alice.key"), TokenFile: file("alice.token"),
	}, false))
	must(t, store.SetCurrent("alice"))
}

func TestScripts(t *testing.T) {
	w := newWorld(t)
	testscript.Run(t, testscript.Params{
		Dir:   filepath.Join("testdata", "script"),
		Setup: func(env *testscript.Env) error { w.furnish(t, env); return nil },
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":    exits,
			"long":     long,
			"nosecret": noSecret,
			"spans":    w.spans,
			"records":  w.records,
		},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

// exits CODE PROGRAM ARGS… runs a program that must exit with the code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGS...")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != args[0] {
		ts.Fatalf("%s exited with %s, want %s", args[1], got, args[0])
	}
}

// long FILE SIZE writes a first line "short" and a second one of SIZE KiB.
func long(ts *testscript.TestScript, _ bool, args []string) {
	size, err := time.ParseDuration(args[1] + "ns")
	ts.Check(err)
	text := "short\n" + strings.Repeat("x", int(size)<<10) + "\nafter\n"
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

// spans NAMES… wants one span of each name at the collector, none of which has
// text of the messages or a token.
func (w *world) spans(ts *testscript.TestScript, _ bool, names []string) {
	all := w.sink.Spans()
	for _, name := range names {
		if n := len(telemetrytest.Named(all, name)); n != 1 {
			ts.Fatalf("got %d spans %q, want 1, of %+v", n, name, all)
		}
	}
	shown := fmt.Sprintf("%+v", all)
	if strings.Contains(shown, "hello") || strings.Contains(shown, strings.TrimSpace(ts.ReadFile("alice.token"))) {
		ts.Fatalf("a text or a token is in %s", shown)
	}
}

// records TEXTS… wants a log record of each text at the collector.
func (w *world) records(ts *testscript.TestScript, _ bool, texts []string) {
	all := w.sink.Records()
	for _, text := range texts {
		if !slices.ContainsFunc(all, func(r telemetrytest.Record) bool {
			return r.Body == text && r.Resource["service.name"] == "chat"
		}) {
			ts.Fatalf("there is no record %q of chat among %+v", text, all)
		}
	}
}

// nosecret fails where a token or a key is in the last command's output.
func noSecret(ts *testscript.TestScript, _ bool, _ []string) {
	output := ts.ReadFile("stdout") + ts.ReadFile("stderr")
	for _, name := range []string{"alice.token", "expired.token", "other.token", "alice.key"} {
		for _, part := range strings.FieldsFunc(ts.ReadFile(name), func(r rune) bool { return r == '\n' || r == '.' }) {
			if len(part) > 40 && strings.Contains(output, part) {
				ts.Fatalf("a part of %s is in the output", name)
			}
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
