package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"securechat/auth"
	"securechat/certs"
	"securechat/client"
	"securechat/cmd/chatd/internal/sandbox"
	"securechat/cmd/internal/telemetry/telemetrytest"
	chatpb "securechat/proto/chat"
)

// A real program, a real clock: the stream is cut when its token expires,
// although nobody sends anything.
func TestStreamEndsWithItsToken(t *testing.T) {
	t.Parallel()
	box, err := sandbox.Open(t.TempDir(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	d := startForTest(t, nil, append(serveFlags(box), "--listen", "127.0.0.1:0", "--admin-listen", "off", "--grace", "1s")...)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	stream, _ := inLife(t, 3*time.Second, func(ends time.Time) (*client.Stream, error) {
		return dialOnce(t, box, d, time.Until(ends)).Open(ctx)
	})
	defer stream.Close()

	_, err = stream.Receive(ctx)
	late := time.Since(stream.Expires())
	var ended *client.Error
	if !errors.As(err, &ended) || ended.Code != codes.Unauthenticated || ended.Reason != auth.TokenExpired {
		t.Fatalf("the stream ended with %v, want UNAUTHENTICATED, TOKEN_EXPIRED", err)
	}
	if late < 0 || late > promised() {
		t.Errorf("the stream ended %v after its token, want within %v", late, promised())
	}
}

// openStream opens a stream as the sandbox's first user, with a token of that
// lifetime. The stream ends with the test.
func openStream(ctx context.Context, t *testing.T, box *sandbox.Sandbox, d *process, lifetime time.Duration) *client.Stream {
	t.Helper()
	stream, err := dialOnce(t, box, d, lifetime).Open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stream.Close() })
	return stream
}

// dialOnce connects as the sandbox's first user, with one token of that lifetime.
func dialOnce(t *testing.T, box *sandbox.Sandbox, d *process, lifetime time.Duration) *client.Conn {
	t.Helper()
	user := box.Users()[0]
	source, err := certs.Files(certs.Paths{Certificate: user.Certificate, Key: user.Key, Roots: box.CA()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = source.Close() })
	token, err := shortToken(box, lifetime) // one and no other, with which the client cannot refresh
	if err != nil {
		t.Fatal(err)
	}
	conn, err := client.Dial(client.Config{
		Server: d.listen, ServerName: sandbox.ServerName, Certificates: source,
		Token: client.TokenFunc(func(context.Context) (string, error) { return token, nil }),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// A server that is told to end says so to its probers and to its streams, waits
// for a client that has not taken the end of its stream, and ends at once when it
// is told again.
func TestEndingGracefullyAndAtOnce(t *testing.T) {
	t.Parallel()
	box, err := sandbox.Open(t.TempDir(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	d, err := startProcess(t.TempDir(), append(os.Environ(), "GORACE=atexit_sleep_ms=0"),
		append(serveFlags(box), "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--grace", "1h"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = d.stop() })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	openDeaf(ctx, t, box, d)
	stream := openStream(ctx, t, box, d, time.Hour)
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	wantReadiness(ctx, t, d, http.StatusServiceUnavailable)
	var ended *client.Error
	if _, err := stream.Receive(ctx); !errors.As(err, &ended) || ended.Code != codes.Unavailable || ended.Reason != auth.Draining {
		t.Fatalf("the stream ended with %v, want UNAVAILABLE, DRAINING", err)
	}
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if _, err := d.wait(); err != nil {
		t.Fatal(err)
	}
	if status, ok := d.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGTERM {
		t.Errorf("it ended with %v, want by the second SIGTERM", d.cmd.ProcessState)
	}
}

// openDeaf opens a stream whose client reads nothing, and waits until its handler
// is stuck with an answer.
func openDeaf(ctx context.Context, t *testing.T, box *sandbox.Sandbox, d *process) {
	t.Helper()
	stream := openPlain(ctx, t, dialPlain(t, box, d), mustToken(t, box, time.Hour))
	large := &chatpb.ChatMessage{Message: strings.Repeat("x", 200<<10)} // more than flow control lets through
	for range 2 {
		if err := stream.Send(large); err != nil {
			t.Fatal(err)
		}
	}
	err := within(patience, func() error {
		response, err := http.Get("http://" + d.admin + "/metrics")
		if err != nil {
			return err
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err == nil && !receivedTwo.Match(text) {
			err = errors.New("the second message has not been received")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

var receivedTwo = regexp.MustCompile(`(?m)^securechat_messages_total\{.*direction="received".*\} 2$`)

// dialPlain connects as the sandbox's first user, with grpc-go alone.
func dialPlain(t *testing.T, box *sandbox.Sandbox, d *process) *grpc.ClientConn {
	t.Helper()
	user := box.Users()[0]
	source, err := certs.Files(certs.Paths{Certificate: user.Certificate, Key: user.Key, Roots: box.CA()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = source.Close() })
	conn, err := grpc.NewClient("passthrough:///"+d.listen, grpc.WithTransportCredentials(certs.ClientCredentials(source, sandbox.ServerName)), grpc.WithDisableServiceConfig())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// openPlain opens a stream with a token and waits until it is admitted.
func openPlain(ctx context.Context, t *testing.T, conn *grpc.ClientConn, token string) chatpb.Chat_ChatStreamClient {
	t.Helper()
	stream, err := admitted(ctx, conn, token)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// admitted opens a stream and says why if it is not admitted.
func admitted(ctx context.Context, conn *grpc.ClientConn, token string) (chatpb.Chat_ChatStreamClient, error) {
	stream, err := chatpb.NewChatClient(conn).ChatStream(metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token))
	if err != nil {
		return nil, err
	}
	if header, err := stream.Header(); err != nil || len(header.Get(chatpb.HeaderUser)) == 0 {
		_, err = stream.Recv()
		return nil, fmt.Errorf("the stream was not admitted: %v, %w", header, err)
	}
	return stream, nil
}

func mustToken(t *testing.T, box *sandbox.Sandbox, lifetime time.Duration) string {
	t.Helper()
	token, err := shortToken(box, lifetime)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// wantReadiness waits until /readyz answers with the code.
func wantReadiness(ctx context.Context, t *testing.T, d *process, want int) {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	err := within(patience, func() error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+d.admin+"/readyz", nil)
		if err != nil {
			return err
		}
		response, err := transport.RoundTrip(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != want {
			return fmt.Errorf("/readyz answers %d, want %d", response.StatusCode, want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// When the grace is over, a client that does not take the end of its stream does
// not keep the server.
func TestGraceEnds(t *testing.T) {
	t.Parallel()
	box, err := sandbox.Open(t.TempDir(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	d := startForTest(t, nil, append(serveFlags(box), "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--grace", "200ms")...)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	openDeaf(ctx, t, box, d)
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code, err := d.wait(); code != 0 || err != nil {
		t.Errorf("it ended with %d, %v, want 0", code, err)
	}
}

// serveFlags are the flags of `serve` for the files of a sandbox.
func serveFlags(box *sandbox.Sandbox) []string {
	s := box.Settings()
	return []string{
		"serve", "--tls-cert", s.TLSCert, "--tls-key", s.TLSKey, "--client-ca", s.ClientCA, "--crl", s.CRL,
		"--jwks", s.JWKS, "--issuer", s.Issuer, "--audience", s.Audience,
	}
}

func shortToken(box *sandbox.Sandbox, lifetime time.Duration) (string, error) {
	user := box.Users()[0]
	return mintRequest{
		key: filepath.Join(box.Dir(), "issuer.key"), certificate: user.Certificate, lifetime: lifetime,
		claims: auth.MintClaims{Issuer: sandbox.Issuer, Audience: []string{sandbox.Audience}, Subject: user.Name},
	}.mint()
}

// Two real programs and a collector: while the stream is still open, one message
// is one trace, and its spans lead back to the openings on both sides.
func TestOneMessageIsOneTrace(t *testing.T) {
	t.Parallel()
	program, err := chatProgram()
	if err != nil {
		t.Fatal(err)
	}
	sink := telemetrytest.NewSink(t)
	env := []string{
		"OTEL_EXPORTER_OTLP_ENDPOINT=" + sink.URL(),
		"OTEL_BSP_SCHEDULE_DELAY=50", // milliseconds
		"OTEL_LOGS_EXPORTER=otlp",
		"OTEL_BLRP_SCHEDULE_DELAY=50",
		"XDG_STATE_HOME=" + t.TempDir(),
		"XDG_CONFIG_HOME=" + t.TempDir(),
	}
	d := startForTest(t, env, "dev", "--listen", "127.0.0.1:0", "--admin-listen", "off")
	if err := within(patience, func() error {
		if !strings.Contains(d.output(), "Ctrl-C") {
			return errors.New("dev has not said what to type next")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(d.output(), "traces      "+sink.URL()) {
		t.Errorf("dev does not say where traces go: %s", d.output())
	}

	chat := exec.Command(program, "send")
	chat.Env = append(os.Environ(), env...)
	var said strings.Builder
	chat.Stdout, chat.Stderr = &said, &said
	typing, err := chat.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := chat.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(typing.Close(), chat.Wait()); err != nil {
			t.Errorf("chat send: %v: %s", err, &said)
		}
	}()
	if _, err := typing.Write([]byte("a text that belongs to nobody else\n")); err != nil {
		t.Fatal(err)
	}
	spans := sink.Wait(t, patience, func(spans []telemetrytest.Span) bool {
		return len(of(spans, "chat", "receive")) == 1 && len(of(spans, "chatd", "process")) == 2 // the first is dev's own
	})
	checkTrace(t, spans)
	connect := of(spans, "chatd", "connect")
	if err := within(patience, func() error { return admissionLogged(sink.Records(), connect) }); err != nil {
		t.Error(err)
	}
}

// admissionLogged wants the record of an admission among the exported log, beside
// the trace of the stream's opening.
func admissionLogged(records []telemetrytest.Record, connects []telemetrytest.Span) error {
	for _, record := range records {
		for _, connect := range connects {
			if record.Body == "admitted" && record.TraceID == connect.TraceID && record.Resource["service.name"] == "chatd" {
				return nil
			}
		}
	}
	return fmt.Errorf("no admission of the trace of %+v is among %+v", connects, records)
}

// of returns the spans of one name that one program made.
func of(spans []telemetrytest.Span, service, name string) []telemetrytest.Span {
	var found []telemetrytest.Span
	for _, span := range telemetrytest.Named(spans, name) {
		if span.Resource["service.name"] == service {
			found = append(found, span)
		}
	}
	return found
}

func checkTrace(t *testing.T, spans []telemetrytest.Span) {
	t.Helper()
	one := func(service, name, traceID string) telemetrytest.Span {
		t.Helper()
		for _, span := range of(spans, service, name) {
			if traceID == "" || span.TraceID == traceID {
				return span
			}
		}
		t.Fatalf("%s has made no span %q in trace %q: %+v", service, name, traceID, spans)
		return telemetrytest.Span{}
	}
	send := one("chat", "send", "")
	process := one("chatd", "process", send.TraceID)
	receive := one("chat", "receive", send.TraceID)
	if send.ParentID != "" || process.ParentID != send.SpanID || receive.ParentID != process.SpanID {
		t.Errorf("parents: send %q, process %q, receive %q; want none, send and process", send.ParentID, process.ParentID, receive.ParentID)
	}
	clientConnect := one("chat", "connect", "")
	serverConnect := one("chatd", "connect", clientConnect.TraceID)
	if serverConnect.ParentID != clientConnect.SpanID {
		t.Errorf("the server's connect has the parent %q, want the client's", serverConnect.ParentID)
	}
	for _, link := range []struct{ from, to telemetrytest.Span }{{send, clientConnect}, {receive, clientConnect}, {process, serverConnect}} {
		want := telemetrytest.Link{TraceID: link.to.TraceID, SpanID: link.to.SpanID}
		if len(link.from.Links) != 1 || link.from.Links[0] != want {
			t.Errorf("%s links to %+v, want %+v", link.from.Name, link.from.Links, want)
		}
	}
	for _, span := range []telemetrytest.Span{send, process, receive, clientConnect, serverConnect} {
		if span.Resource["host.name"] == "" || span.Resource["ip"] == "" {
			t.Errorf("%s lacks host.name or ip: Jaeger would warn of clock skew", span.Name)
		}
		for name, value := range span.Attributes {
			if strings.Contains(value, "nobody else") || strings.Contains(value, "eyJ") {
				t.Errorf("%s has a text or a token in %s", span.Name, name)
			}
		}
	}
}

// dev is for newcomers: it is up within a second, with nothing on disk. The race
// detector slows it, and so does a machine that does other things: the best of
// three counts.
func TestDevStartsWithinASecond(t *testing.T) {
	best := time.Hour
	for range 3 {
		env := []string{"XDG_STATE_HOME=" + t.TempDir(), "XDG_CONFIG_HOME=" + t.TempDir()}
		d := startForTest(t, env, "dev", "--listen", "127.0.0.1:0", "--admin-listen", "off")
		t.Logf("ready, and proven, after %v", d.startup)
		if best = min(best, d.startup); best < time.Second || raceDetector {
			return
		}
	}
	t.Errorf("it takes %v to start", best)
}
