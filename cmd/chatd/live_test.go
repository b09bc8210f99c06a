package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"securechat/auth"
	"securechat/certs"
	"securechat/client"
	"securechat/cmd/chatd/internal/sandbox"
	"securechat/cmd/internal/telemetry/telemetrytest"
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
	alice := box.Users()[0]
	source, err := certs.Files(certs.Paths{Certificate: alice.Certificate, Key: alice.Key, Roots: box.CA()})
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	conn, err := client.Dial(client.Config{
		Server: d.listen, ServerName: sandbox.ServerName, Certificates: source,
		Token: client.TokenFunc(func(context.Context) (string, error) {
			return shortToken(box, 3*time.Second)
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	stream, err := conn.Open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()

	_, err = stream.Receive(ctx)
	late := time.Since(stream.Expires())
	var ended *client.Error
	if !errors.As(err, &ended) || ended.Code != codes.Unauthenticated || ended.Reason != auth.TokenExpired {
		t.Fatalf("the stream ended with %v, want UNAUTHENTICATED, TOKEN_EXPIRED", err)
	}
	if late < 0 || late > time.Second {
		t.Errorf("the stream ended %v after its token, want within a second", late)
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

// dev is for newcomers: it is up within a second. The race detector slows it, and
// so does a machine that does other things.
func TestDevStartsWithinASecond(t *testing.T) {
	env := []string{"XDG_STATE_HOME=" + t.TempDir(), "XDG_CONFIG_HOME=" + t.TempDir()}
	d := startForTest(t, env, "dev", "--listen", "127.0.0.1:0", "--admin-listen", "off")
	t.Logf("ready, and proven, after %v", d.startup)
	if d.startup > time.Second && !raceDetector {
		t.Errorf("it took %v to start with nothing on disk", d.startup)
	}
}
