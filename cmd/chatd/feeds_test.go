package main

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"securechat/auth"
	"securechat/certs"
	"securechat/cmd/chatd/internal/sandbox"
	chatpb "securechat/proto/chat"
)

// An issuer publishes a town's key set over https, while it is not down.
type issuer struct {
	down atomic.Bool
}

// withIssuer starts another chatd in the town, which fetches the keys.
func (w *town) withIssuer(flags ...string) *issuer {
	w.t.Helper()
	i := &issuer{}
	endpoint := httptest.NewTLSServer(http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		if i.down.Load() {
			answer.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		http.ServeFile(answer, request, w.path("jwks.json"))
	}))
	w.t.Cleanup(endpoint.Close)
	w.write("issuer-ca.crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: endpoint.Certificate().Raw}))
	w.d = startForTest(w.t, nil, append([]string{"serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--grace", "2s",
		"--tls-cert", w.path("server.crt"), "--tls-key", w.path("server.key"), "--client-ca", w.path("clients.crt"),
		"--jwks", endpoint.URL, "--jwks-ca", w.path("issuer-ca.crt"), "--issuer", sandbox.Issuer, "--audience", sandbox.Audience}, flags...)...)
	return i
}

// says waits until the program has logged the words so many times.
func (w *town) says(words string, times int) {
	w.t.Helper()
	if err := within(patience, func() error {
		if n := strings.Count(w.d.errors(), words); n < times {
			return errors.New("the log does not say: " + words)
		}
		return nil
	}); err != nil {
		w.t.Fatal(err)
	}
	if n := strings.Count(w.d.errors(), words); n != times {
		w.t.Errorf("the log says %d times, want %d: %s", n, times, words)
	}
}

func wantAcknowledged(t *testing.T, stream chatpb.Chat_ChatStreamClient, text string) {
	t.Helper()
	if err := echoed(stream, text); err != nil {
		t.Fatal(err)
	}
}

// echoed says why if a text is not acknowledged.
func echoed(stream chatpb.Chat_ChatStreamClient, text string) error {
	if err := stream.Send(&chatpb.ChatMessage{Message: text}); err != nil {
		return err
	}
	if m, err := stream.Recv(); err != nil || m.Message != "Acknowledged: "+text {
		return fmt.Errorf("got %v, %v, want the acknowledgement of %q", m, err, text)
	}
	return nil
}

// refusal opens a stream and returns how it was refused; nil if it was not.
func refusal(ctx context.Context, t *testing.T, conn *grpc.ClientConn, token string) error {
	t.Helper()
	stream, err := chatpb.NewChatClient(conn).ChatStream(metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token))
	if err != nil { // of the connection
		return err
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err = stream.Recv(); errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// An outage of the issuer, with strict feeds: what was fetched last serves until it
// is too old, then nobody is served; when it is over, all is as before.
func TestStrictFeedsRefuseKeysThatAreTooOld(t *testing.T) {
	t.Parallel()
	const maxAge = 3 * time.Second
	w := newTown(t)
	endpoint := w.withIssuer("--feeds", "strict", "--jwks-max-age", maxAge.String())
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	alice := w.citizen("alice", w.roots[0], w.signers[0])
	token := alice.token(time.Now().Add(time.Hour))
	conn := alice.dial()
	stream := openPlain(ctx, t, conn, token)

	endpoint.down.Store(true)
	began := time.Now()
	w.says("token keys not fetched", 1)
	wantAcknowledged(t, stream, "in the outage")
	_, err := stream.Recv()
	if reason, _ := auth.ReasonOf(err); status.Code(err) != codes.Unavailable || reason != auth.KeysUnavailable {
		t.Fatalf("the stream ended with %v, want UNAVAILABLE, KEYS_UNAVAILABLE", err)
	}
	if late := time.Since(began); late < maxAge/2-time.Second || late > maxAge+promised() {
		t.Errorf("the stream ended %v after the outage began, with keys of %v at most", late, maxAge)
	}
	err = refusal(ctx, t, conn, token)
	if reason, _ := auth.ReasonOf(err); status.Code(err) != codes.Unavailable || reason != auth.KeysUnavailable {
		t.Errorf("a new stream: %v, want UNAVAILABLE, KEYS_UNAVAILABLE", err)
	}
	w.says("token keys are too old: their tokens are refused", 1)
	w.says("token keys not fetched", 1)

	endpoint.down.Store(false)
	if err := within(patience, func() error { return refusal(ctx, t, conn, token) }); err != nil {
		t.Errorf("after the outage: %v", err)
	}
}

// With best effort the keys serve on, and the log and the metrics say so.
func TestBestEffortServesOnWithKeysThatAreTooOld(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	endpoint := w.withIssuer("--jwks-max-age", "2s")
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	alice := w.citizen("alice", w.roots[0], w.signers[0])
	token := alice.token(time.Now().Add(time.Hour))
	conn := alice.dial()
	stream := openPlain(ctx, t, conn, token)
	endpoint.down.Store(true)
	w.says("token keys are too old: they serve on", 1)
	wantAcknowledged(t, stream, "still here")
	if err := refusal(ctx, t, conn, token); err != nil {
		t.Errorf("a new stream: %v", err)
	}
	if page := w.metrics(); !keysOverdue.MatchString(page) {
		t.Errorf("the metrics do not say that the keys are too old:\n%s", page)
	}
}

var keysOverdue = regexp.MustCompile(`(?m)^securechat_feed_expiry_seconds\{feed="jwks",.*\} -`)

func (w *town) metrics() string {
	w.t.Helper()
	response, err := http.Get("http://" + w.d.admin + "/metrics")
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

// A key that has left the set at the URL is retired by SIGHUP at once, minutes
// before the next fetch is due.
func TestSIGHUPFetchesTheKeys(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	w.withIssuer()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	stays, goes := w.citizen("bob", w.roots[0], w.signers[0]), w.citizen("alice", w.roots[0], w.signers[1])
	expires := time.Now().Add(time.Hour)
	one, other := openPlain(ctx, t, stays.dial(), stays.token(expires)), openPlain(ctx, t, goes.dial(), goes.token(expires))
	w.writeKeys(w.signers[0])
	if err := w.d.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	_, err := other.Recv()
	if reason, _ := auth.ReasonOf(err); reason != auth.TokenKeyRetired {
		t.Fatalf("the stream ended with %v, want TOKEN_KEY_RETIRED", err)
	}
	if late := time.Since(began); late > promised() {
		t.Errorf("it ended %v after the signal, want %v at most", late, promised())
	}
	wantAcknowledged(t, one, "undisturbed")
}

// What is replaced in good order disturbs nobody whom it does not concern.
func TestReplacementsDisturbNobody(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	alice := w.citizen("alice", w.roots[0], w.signers[0])
	stream := openPlain(ctx, t, alice.dial(), alice.token(time.Now().Add(time.Hour)))
	wantAcknowledged(t, stream, "before")
	w.writeRoots(w.roots[0])
	w.writeKeys(w.signers[0])
	w.write("revocations.txt", []byte("subject nobody\n"))
	w.write("policy.txt", []byte("expel nobody *\n"))
	crl, err := os.ReadFile(w.path("crl.pem"))
	if err != nil {
		t.Fatal(err)
	}
	w.write("crl.pem", append([]byte("again\n"), crl...))
	server, err := w.roots[0].IssueServer([]string{sandbox.ServerName}, certs.IssueOptions{})
	if err != nil {
		t.Fatal(err)
	}
	key, err := server.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	w.write("server.crt", server.ChainPEM())
	if err := os.WriteFile(w.path("server.key"), key, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, feed := range []string{"certificate", "roots", "crl", "revocations", "jwks", "policy"} {
		twice := regexp.MustCompile(`(?m)^securechat_feed_loads_total\{feed="` + feed + `",.*result="ok"\} 2$`)
		if err := within(promised(), func() error {
			if !twice.MatchString(w.metrics()) {
				return errors.New(feed + " has not been taken up")
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	}
	wantAcknowledged(t, stream, "after")
}
