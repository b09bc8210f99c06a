package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"securechat/auth"
	"securechat/certs"
	"securechat/cmd/chatd/internal/files"
	"securechat/cmd/chatd/internal/sandbox"
	authpb "securechat/proto/auth/v1"
	chatpb "securechat/proto/chat"
)

// A town is a chatd with real files: two client authorities, two signing keys, a
// revocation list and a revocations file.
type town struct {
	t           *testing.T
	dir         string
	d           *process
	roots       [2]*certs.CA
	signers     [2]*auth.Signer
	revocations string
}

func newTown(t *testing.T) *town {
	t.Helper()
	w := &town{t: t, dir: t.TempDir()}
	w.revocations = w.path("revocations.txt")
	for i := range 2 {
		var err error
		if w.roots[i], err = certs.NewCA(certs.CAOptions{Name: "authority " + string(rune('A'+i))}); err != nil {
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
	w.d = startForTest(t, nil, "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--grace", "2s",
		"--tls-cert", w.path("server.crt"), "--tls-key", w.path("server.key"), "--client-ca", w.path("clients.crt"), "--crl", w.path("crl.pem"),
		"--revocations", w.revocations, "--jwks", w.path("jwks.json"), "--issuer", sandbox.Issuer, "--audience", sandbox.Audience)
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

// crowd opens streams, of which one in ten sends all the time and the others only
// listen, and one whose client reads nothing. ended has the moment of each end.
func (c *citizen) crowd(ctx context.Context, n int, expires time.Time, code codes.Code, reason auth.Reason) (ended chan time.Time) {
	t := c.town.t
	t.Helper()
	token := c.token(expires)
	ended = make(chan time.Time, n)
	var conn *grpc.ClientConn
	for i := range n {
		if i%50 == 0 {
			conn = c.dial()
		}
		stream := openPlain(ctx, t, conn, token)
		go func() {
			err := listen(stream, i%10 == 0)
			ended <- time.Now()
			if got, _ := auth.ReasonOf(err); status.Code(err) != code || got != reason {
				t.Errorf("a stream of %s ended with %v, want %s, %s", c.name, err, code, reason)
			}
		}()
	}
	deaf := openPlain(ctx, t, c.dial(), token)
	for range 2 {
		if err := deaf.Send(&chatpb.ChatMessage{Message: strings.Repeat("x", 200<<10)}); err != nil {
			t.Fatal(err)
		}
	}
	return ended
}

// listen receives until the stream ends, and sends between if it is to.
func listen(stream chatpb.Chat_ChatStreamClient, sends bool) error {
	for {
		if sends {
			_ = stream.Send(&chatpb.ChatMessage{Message: "on"}) // its error is Recv's
		}
		if _, err := stream.Recv(); err != nil {
			return err
		}
	}
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

// The real program, real files and real seconds: of 200 streams, the 99th
// percentile ends within a second of what ends them, and others are undisturbed.
func TestEveryEndingOfTheProgram(t *testing.T) {
	const streams = 200
	w := newTown(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	bob := w.citizen("bob", w.roots[0], w.signers[0])
	bystander := openPlain(ctx, t, bob.dial(), bob.token(time.Now().Add(time.Hour)))
	for _, test := range []struct {
		name   string
		reason auth.Reason
		life   time.Duration
		ca     int
		key    int
		event  func(c *citizen)
	}{
		{name: "expiry", reason: auth.TokenExpired, life: 6 * time.Second},
		{name: "jti", reason: auth.TokenRevoked, event: func(*citizen) { w.revoke("token", "token-of-jti") }},
		{name: "subject", reason: auth.TokenRevoked, event: func(*citizen) { w.revoke("user", "subject") }},
		{name: "fingerprint", reason: auth.CertificateRevoked, event: func(c *citizen) {
			sum := certs.Thumbprint(c.issued.Certificate())
			w.revoke("certificate", hex.EncodeToString(sum[:]))
		}},
		{name: "crl", reason: auth.CertificateRevoked, event: func(c *citizen) {
			if err := w.roots[0].Revoke(c.issued.Certificate(), certs.KeyCompromise); err != nil {
				t.Fatal(err)
			}
			w.writeCRL()
		}},
		{name: "root", reason: auth.CertificateUntrusted, ca: 1, event: func(*citizen) { w.writeRoots(w.roots[0]) }},
		{name: "key", reason: auth.TokenKeyRetired, key: 1, event: func(*citizen) { w.writeKeys(w.signers[0]) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := w.citizen(test.name, w.roots[test.ca], w.signers[test.key])
			expires := time.Now().Add(time.Hour)
			if test.life > 0 {
				expires = time.Now().Add(test.life).Truncate(time.Second)
			}
			ended := c.crowd(ctx, streams, expires, codes.Unauthenticated, test.reason)
			if n := w.live(c.name); n != streams+1 {
				t.Fatalf("%d streams live, want %d", n, streams+1)
			}
			event := expires
			if test.event != nil {
				test.event(c)
				event = time.Now() // the file has changed
			}
			var late []time.Duration
			for range streams {
				late = append(late, (<-ended).Sub(event))
			}
			slices.Sort(late)
			p99 := late[len(late)*99/100-1]
			t.Logf("p50 %v, p99 %v, all %v", late[len(late)/2], p99, late[len(late)-1])
			if p99 > time.Second {
				t.Errorf("the 99th percentile ended after %v, want a second at most", p99)
			}
			if test.event == nil && late[0] < 0 {
				t.Errorf("a stream ended %v before its token", -late[0])
			}
			// The one that is not read is let go too.
			if n := w.live(c.name); n != 0 {
				t.Errorf("%d streams live on", n)
			}
		})
	}
	if err := bystander.Send(&chatpb.ChatMessage{Message: "here"}); err != nil {
		t.Fatal(err)
	}
	if m, err := bystander.Recv(); err != nil || m.Message != "Acknowledged: here" {
		t.Errorf("the bystander got %v, %v", m, err)
	}
}

// A stream whose token is refreshed on its connection lives on; one on another
// connection does not.
func TestARefreshedStreamLivesOn(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	alice := w.citizen("alice", w.roots[0], w.signers[0])
	soon := time.Now().Add(3 * time.Second).Truncate(time.Second)
	conn := alice.dial()
	stays, ends := openPlain(ctx, t, conn, alice.token(soon)), openPlain(ctx, t, alice.dial(), alice.token(soon))
	later := soon.Add(time.Hour)
	answer, err := authpb.NewSessionClient(conn).Refresh(metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+alice.token(later)), &authpb.RefreshRequest{})
	if err != nil || answer.Streams != 1 || answer.Expires != later.UTC().Format(time.RFC3339) {
		t.Fatalf("refreshed %v, %v, want one stream until %v", answer, err, later)
	}
	if _, err := ends.Recv(); status.Code(err) != codes.Unauthenticated {
		t.Errorf("the stream on another connection ended with %v", err)
	}
	if err := stays.Send(&chatpb.ChatMessage{Message: "still here"}); err != nil {
		t.Fatal(err)
	}
	if m, err := stays.Recv(); err != nil || m.Message != "Acknowledged: still here" {
		t.Errorf("after the first expiry: %v, %v", m, err)
	}
}

// A process that was stopped past an expiry ends what has expired when it wakes.
func TestAStoppedProcessCatchesUp(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	alice := w.citizen("alice", w.roots[0], w.signers[0])
	expires := time.Now().Add(3 * time.Second).Truncate(time.Second)
	stream := openPlain(ctx, t, alice.dial(), alice.token(expires))
	if err := w.d.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	<-time.After(time.Until(expires) + time.Second)
	if err := w.d.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	woke := time.Now()
	_, err := stream.Recv()
	if reason, _ := auth.ReasonOf(err); reason != auth.TokenExpired {
		t.Errorf("the stream ended with %v, want TOKEN_EXPIRED", err)
	}
	if late := time.Since(woke); late > time.Second {
		t.Errorf("it ended %v after the process woke, want a second at most", late)
	}
}

// A broken replacement of every file is reported, and changes nothing.
func TestBrokenReplacementsDisturbNobody(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	alice := w.citizen("alice", w.roots[0], w.signers[0])
	stream := openPlain(ctx, t, alice.dial(), alice.token(time.Now().Add(time.Hour)))
	for _, name := range []string{"clients.crt", "crl.pem", "revocations.txt", "server.crt", "jwks.json"} {
		good, err := os.ReadFile(w.path(name))
		if err != nil {
			t.Fatal(err)
		}
		reports := strings.Count(w.d.errors(), "not replaced")
		w.write(name, []byte("half a fi"))
		if err := within(patience, func() error {
			if strings.Count(w.d.errors(), "not replaced") == reports {
				return errors.New("nothing is said of the broken " + name)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		w.write(name, good)
		if err := stream.Send(&chatpb.ChatMessage{Message: name}); err != nil {
			t.Fatal(err)
		}
		if m, err := stream.Recv(); err != nil || m.Message != "Acknowledged: "+name {
			t.Fatalf("after a broken %s: %v, %v", name, m, err)
		}
	}
}

// An operator sees who is connected and ends a stream; a page in a browser cannot.
func TestAnOperatorEndsAStream(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	alice := w.citizen("alice", w.roots[0], w.signers[0])
	expires := time.Now().Add(time.Hour).Truncate(time.Second)
	conn := alice.dial()
	one, other := openPlain(ctx, t, conn, alice.token(expires)), openPlain(ctx, t, conn, alice.token(expires))
	sessions := w.sessions()
	if len(sessions) != 2 || sessions[0].User != "alice" || !sessions[0].Expires.Equal(expires) || sessions[0].Method != chatpb.Chat_ChatStream_FullMethodName || sessions[0].Peer == "" {
		t.Fatalf("the sessions are %+v", sessions)
	}
	id := sessions[0].ID
	response, err := http.Post("http://"+w.d.admin+"/sessions/"+id+"/end", "text/plain", nil)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusForbidden || w.live("alice") != 2 {
		t.Errorf("without the header: %s, %d streams live", response.Status, w.live("alice"))
	}
	if text, err := exec.Command("chatd", "sessions", "end", id, "--admin", "http://"+w.d.admin).CombinedOutput(); err != nil {
		t.Fatalf("chatd sessions end: %v: %s", err, text)
	}
	var first sync.Once
	ended := make(chan error, 2)
	for _, stream := range []chatpb.Chat_ChatStreamClient{one, other} {
		go func() {
			_, err := stream.Recv()
			first.Do(func() { ended <- err })
		}()
	}
	err = <-ended
	if reason, _ := auth.ReasonOf(err); status.Code(err) != codes.PermissionDenied || reason != auth.Expelled {
		t.Errorf("the stream ended with %v, want PERMISSION_DENIED, EXPELLED", err)
	}
	if n := w.live("alice"); n != 1 {
		t.Errorf("%d streams live, want 1", n)
	}
}
