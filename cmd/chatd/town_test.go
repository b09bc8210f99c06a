package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"google.golang.org/grpc"

	"securechat/auth"
	"securechat/certs"
	"securechat/cmd/chatd/internal/daemon"
	"securechat/cmd/chatd/internal/files"
	"securechat/cmd/chatd/internal/sandbox"
)

// A town is a chatd with real files: two client authorities, two signing keys, a
// revocation list, a revocations file and a room policy. They are in a folder that is mounted
// as Kubernetes mounts secrets: behind a symbolic link, which can be swapped.
type town struct {
	t           *testing.T
	dir         string
	d           *process
	roots       [2]*certs.CA
	signers     [2]*auth.Signer
	revocations string
	admin       *http.Transport
}

// newTown starts one. Of flags that are given twice the later counts.
func newTown(t *testing.T, flags ...string) *town {
	t.Helper()
	base := t.TempDir()
	w := &town{t: t, dir: filepath.Join(base, "mount")}
	if err := errors.Join(os.Mkdir(filepath.Join(base, "v0"), 0o700), os.Symlink("v0", w.dir)); err != nil {
		t.Fatal(err)
	}
	w.revocations = w.path("revocations.txt")
	w.admin = &http.Transport{}
	t.Cleanup(w.admin.CloseIdleConnections)
	for i := range 2 {
		var err error
		if w.roots[i], err = certs.NewCA(certs.CAOptions{Name: "authority " + string(rune('A'+i)), Depth: 1}); err != nil {
			t.Fatal(err)
		}
		if w.signers[i], err = auth.NewSigningKey(); err != nil {
			t.Fatal(err)
		}
	}
	server, err := w.roots[0].IssueServer([]string{sandbox.ServerName}, certs.IssueOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.WriteFiles(w.path("server.crt"), w.path("server.key")); err != nil {
		t.Fatal(err)
	}
	w.writeRoots(w.roots[:]...)
	w.writeKeys(w.signers[:]...)
	w.writeCRL()
	w.write("revocations.txt", nil)
	w.write("policy.txt", nil)
	w.d = startForTest(t, nil, append([]string{"serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--grace", "2s",
		"--tls-cert", w.path("server.crt"), "--tls-key", w.path("server.key"), "--client-ca", w.path("clients.crt"), "--crl", w.path("crl.pem"),
		"--revocations", w.revocations, "--policy", w.path("policy.txt"), "--jwks", w.path("jwks.json"), "--issuer", sandbox.Issuer, "--audience", sandbox.Audience,
		"--max-streams-per-identity", "2000", "--max-connections-per-identity", "100"}, flags...)...)
	return w
}

func (w *town) path(name string) string { return filepath.Join(w.dir, name) }

func (w *town) write(name string, text []byte) {
	w.t.Helper()
	if err := (files.File{Path: w.path(name), Text: text, Mode: files.Public}).Replace(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *town) writeRoots(roots ...*certs.CA) {
	w.t.Helper()
	var text []byte
	for _, root := range roots {
		text = append(text, root.CertificatePEM()...)
	}
	w.write("clients.crt", text)
}

func (w *town) writeKeys(signers ...*auth.Signer) {
	w.t.Helper()
	jwks, err := auth.MarshalKeySet(signers...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.write("jwks.json", jwks)
}

func (w *town) writeCRL() {
	w.t.Helper()
	text, err := w.roots[0].CRL()
	if err != nil {
		w.t.Fatal(err)
	}
	w.write("crl.pem", text)
}

// A citizen is a user of a town.
type citizen struct {
	town   *town
	name   string
	signer *auth.Signer
	issued *certs.Issued
}

func (w *town) citizen(name string, root *certs.CA, signer *auth.Signer) *citizen {
	w.t.Helper()
	issued, err := root.IssueUser(name, certs.IssueOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return &citizen{town: w, name: name, signer: signer, issued: issued}
}

func (c *citizen) token(expires time.Time) string {
	c.town.t.Helper()
	thumbprint := certs.Thumbprint(c.issued.Certificate())
	token, err := c.signer.Mint(auth.MintClaims{
		Issuer: sandbox.Issuer, Audience: []string{sandbox.Audience}, Subject: c.name, ID: "token-of-" + c.name,
		Expires: expires, Confirmation: &thumbprint,
	})
	if err != nil {
		c.town.t.Fatal(err)
	}
	return token
}

func (c *citizen) dial() *grpc.ClientConn {
	t := c.town.t
	t.Helper()
	material, err := c.issued.Material(c.town.roots[0].Certificate())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient("passthrough:///"+c.town.d.listen, grpc.WithTransportCredentials(certs.ClientCredentials(material, sandbox.ServerName)), grpc.WithDisableServiceConfig())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// live is how many streams the user has, as the operator sees it.
func (w *town) live(user string) int {
	w.t.Helper()
	n := 0
	for _, s := range w.sessions() {
		if s.User == user {
			n++
		}
	}
	return n
}

func (w *town) sessions() []auth.Session {
	w.t.Helper()
	text, err := exec.Command("chatd", "sessions", "--json", "--admin", "http://"+w.d.admin).Output()
	if err != nil {
		w.t.Fatalf("chatd sessions: %v", err)
	}
	var sessions []auth.Session
	for line := range bytes.Lines(text) {
		var s auth.Session
		if err := json.Unmarshal(line, &s); err != nil {
			w.t.Fatal(err)
		}
		sessions = append(sessions, s)
	}
	return sessions
}

func (w *town) revoke(args ...string) {
	w.t.Helper()
	if text, err := exec.Command("chatd", append(append([]string{"revoke"}, args...), "--revocations", w.revocations)...).CombinedOutput(); err != nil {
		w.t.Fatalf("chatd revoke: %v: %s", err, text)
	}
}

// list is what the admin listener says of the live streams of a user.
func (w *town) list(ctx context.Context, user string) ([]auth.Session, error) {
	text, err := w.get(ctx, "/sessions")
	if err != nil {
		return nil, err
	}
	var all, theirs []auth.Session
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, err
	}
	for _, s := range all {
		if s.User == user {
			theirs = append(theirs, s)
		}
	}
	return theirs, nil
}

// end ends a live stream as an operator does.
func (w *town) end(ctx context.Context, id string) error {
	_, err := w.ask(ctx, http.MethodPost, "/sessions/"+id+"/end")
	return err
}

func (w *town) get(ctx context.Context, path string) ([]byte, error) {
	return w.ask(ctx, http.MethodGet, path)
}

func (w *town) ask(ctx context.Context, method, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://"+w.d.admin+path, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set(daemon.ConfirmHeader, "yes")
	response, err := w.admin.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s", method, path, response.Status)
	}
	return text, err
}

var (
	streamsLive  = regexp.MustCompile(`(?m)^securechat_streams_live(?:\{.*\})? (\d+)$`)
	received     = regexp.MustCompile(`(?m)^securechat_messages_total\{.*direction="received".*\} (\d+)$`)
	acknowledged = regexp.MustCompile(`(?m)^securechat_messages_total\{.*direction="acknowledged".*\} (\d+)$`)
)

// counts reads numbers among the metrics; one that is not there yet is 0.
func (w *town) counts(ctx context.Context, of ...*regexp.Regexp) ([]int, error) {
	text, err := w.get(ctx, "/metrics")
	if err != nil {
		return nil, err
	}
	counts := make([]int, len(of))
	for i, expression := range of {
		if found := expression.FindSubmatch(text); found != nil {
			if counts[i], err = strconv.Atoi(string(found[1])); err != nil {
				return nil, err
			}
		}
	}
	return counts, nil
}
