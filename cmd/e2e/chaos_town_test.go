//go:build e2e

package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"securechat/auth"
	"securechat/certs"
	"securechat/client"
	chatpb "securechat/proto/chat"
)

const (
	townIssuer   = "https://id.example.org"
	townAudience = "chat.example.org"
	townServer   = "localhost"
)

// A town has an authority and an issuer, and the files of a service that trusts
// both.
type town struct {
	t      *testing.T
	dir    string
	ca     *certs.CA
	signer *auth.Signer
}

func newTown(t *testing.T) *town {
	t.Helper()
	ca, err := certs.NewCA(certs.CAOptions{Name: "chaos"})
	must(t, err)
	signer, err := auth.NewSigningKey()
	must(t, err)
	w := &town{t: t, dir: t.TempDir(), ca: ca, signer: signer}
	server, err := ca.IssueServer([]string{townServer}, certs.IssueOptions{})
	must(t, err)
	must(t, server.WriteFiles(w.path("server.crt"), w.path("server.key")))
	keys, err := signer.JWKS()
	must(t, err)
	must(t, os.WriteFile(w.path("jwks.json"), keys, 0o600))
	must(t, os.WriteFile(w.path("ca.crt"), ca.CertificatePEM(), 0o600))
	return w
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *town) path(name string) string { return filepath.Join(w.dir, name) }

// flags are those of a service that keeps its rooms as the others say.
func (w *town) flags(listen string, others ...string) []string {
	return append([]string{
		"serve", "--listen", listen, "--admin-listen", "127.0.0.1:0", "--grace", "2s",
		"--tls-cert", w.path("server.crt"), "--tls-key", w.path("server.key"), "--client-ca", w.path("ca.crt"),
		"--jwks", w.path("jwks.json"), "--issuer", townIssuer, "--audience", townAudience,
		"--max-streams-per-identity", "2000", "--max-connections-per-identity", "2000",
	}, others...)
}

// A node is a chatd that may be killed, and started again at the same address with
// the same flags.
type node struct {
	*process
	town   *town
	chatd  string
	env    []string
	flags  []string
	listen string // its address
	admin  string
}

// node starts a chatd.
func (c *chaos) node(w *town, env []string, flags ...string) *node {
	w.t.Helper()
	n := &node{town: w, chatd: c.chatd, env: env, flags: flags, listen: "127.0.0.1:0"}
	n.start()
	return n
}

func (n *node) start() {
	n.town.t.Helper()
	n.process = run(n.town.t, n.env, n.chatd, n.town.flags(n.listen, n.flags...)...)
	ready := n.line(n.stderr, "ready")
	n.listen, n.admin = field(n.town.t, ready, "listen"), field(n.town.t, ready, "admin")
}

// kill ends a process as a crash does, and waits until it is gone.
func (p *process) kill() {
	p.t.Helper()
	must(p.t, p.cmd.Process.Kill())
	p.wait()
}

// A townsman is a user, with what programs need to be it.
type townsman struct {
	town     *town
	name     string
	material *certs.Material
	token    string
}

func (w *town) user(name string) *townsman {
	w.t.Helper()
	issued, err := w.ca.IssueUser(name, certs.IssueOptions{})
	must(w.t, err)
	material, err := issued.Material(w.ca.Certificate())
	must(w.t, err)
	thumbprint := certs.Thumbprint(issued.Certificate())
	token, err := w.signer.Mint(auth.MintClaims{
		Issuer: townIssuer, Audience: []string{townAudience}, Subject: name, Expires: time.Now().Add(6 * time.Hour),
		Scopes: []string{"chat:read", "chat:write"}, Rooms: []string{"*", "@*"}, Confirmation: &thumbprint,
	})
	must(w.t, err)
	must(w.t, issued.WriteFiles(w.path(name+".crt"), w.path(name+".key")))
	must(w.t, os.WriteFile(w.path(name+".token"), []byte(token), 0o600))
	return &townsman{town: w, name: name, material: material, token: token}
}

// environment is what the program chat needs to be the user at a server.
func (u *townsman) environment(server string) []string {
	w := u.town
	return []string{
		"CHAT_SERVER=" + server, "CHAT_SERVER_NAME=" + townServer, "CHAT_TLS_CA=" + w.path("ca.crt"),
		"CHAT_TLS_CERT=" + w.path(u.name+".crt"), "CHAT_TLS_KEY=" + w.path(u.name+".key"), "CHAT_TOKEN_FILE=" + w.path(u.name+".token"),
	}
}

// dial returns a connection as programs have it, until the test ends.
func (u *townsman) dial(server string) *client.Conn {
	t := u.town.t
	t.Helper()
	conn, err := client.Dial(client.Config{
		Server: server, ServerName: townServer, Certificates: u.material,
		Token: client.TokenFunc(func(context.Context) (string, error) { return u.token, nil }),
	})
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// raw returns a connection that knows the contract and nothing of package client,
// until the test ends.
func (u *townsman) raw(server string, options ...grpc.DialOption) chatpb.ChatClient {
	t := u.town.t
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+server, append(options,
		grpc.WithTransportCredentials(certs.ClientCredentials(u.material, townServer)),
		grpc.WithPerRPCCredentials(bearer(u.token)), grpc.WithDisableServiceConfig(),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: time.Second}),
	)...)
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return chatpb.NewChatClient(conn)
}

type bearer string

var _ credentials.PerRPCCredentials = bearer("")

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + strings.TrimSpace(string(b))}, nil
}

func (bearer) RequireTransportSecurity() bool { return true }
