package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/metadata"

	"securechat/auth"
	"securechat/auth/authtest"
	chatpb "securechat/proto/chat"
	"securechat/server"
)

const (
	clientTrace  = "0af7651916cd43dd8448eb211c80319c"
	clientSpan   = "b7ad6b7169203331"
	sampledTrace = "00-" + clientTrace + "-" + clientSpan + "-01"
)

// traced returns a provider and what it has exported.
func traced(t testing.TB, options ...sdktrace.TracerProviderOption) (*sdktrace.TracerProvider, *tracetest.InMemoryExporter) {
	t.Helper()
	exporter := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(append(options, sdktrace.WithSyncer(exporter))...)
	t.Cleanup(func() { _ = provider.Shutdown(context.Background()) })
	return provider, exporter
}

// spans returns the ended spans of a name.
func spans(exporter *tracetest.InMemoryExporter, name string) tracetest.SpanStubs {
	var found tracetest.SpanStubs
	for _, span := range exporter.GetSpans() {
		if span.Name == name {
			found = append(found, span)
		}
	}
	return found
}

// echo sends one message and returns its acknowledgement.
func echo(t testing.TB, stream chatpb.Chat_ChatStreamClient, m *chatpb.ChatMessage) *chatpb.ChatMessage {
	t.Helper()
	if err := stream.Send(m); err != nil {
		t.Fatal(err)
	}
	ack, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	return ack
}

func TestSpansOfALivingStream(t *testing.T) {
	realm := authtest.NewRealm(t)
	provider, exporter := traced(t)
	address := start(t, realm, server.Config{Tracing: provider})
	ctx := metadata.AppendToOutgoingContext(t.Context(), "traceparent", "00-"+clientTrace+"-00f067aa0ba902b7-01", "baggage", "secret=1", "tracestate", "a=1")
	stream, err := chatpb.NewChatClient(realm.User("alice").Dial(address)).ChatStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ack := echo(t, stream, &chatpb.ChatMessage{Message: "private words", Traceparent: sampledTrace})
	rootless := echo(t, stream, &chatpb.ChatMessage{Message: "private words"})

	// The acknowledgement may overtake the end of its span.
	waitFor(t, "spans of the messages", func() bool { return len(spans(exporter, "process")) == 2 })
	connects := spans(exporter, "connect") // ended although the stream lives
	if len(connects) != 1 {
		t.Fatalf("%d connect spans, want one", len(connects))
	}
	connect := connects[0]
	if got := connect.Parent.SpanID().String(); got != "00f067aa0ba902b7" {
		t.Errorf("connect's parent is %s, want the client's span", got)
	}
	process := spans(exporter, "process")
	if process[0].Parent.SpanID().String() != clientSpan || process[0].SpanContext.TraceID().String() != clientTrace {
		t.Errorf("process is in trace %s under %s, want those of the message", process[0].SpanContext.TraceID(), process[0].Parent.SpanID())
	}
	if process[1].Parent.IsValid() || process[1].SpanContext.TraceID() == connect.SpanContext.TraceID() {
		t.Errorf("process without a traceparent has a parent, or the stream's trace")
	}
	for i, m := range []*chatpb.ChatMessage{ack, rootless} {
		if want := chatpb.FormatTraceparent(process[i].SpanContext); m.Traceparent != want {
			t.Errorf("acknowledgement %d carries %q, want its process span %q", i, m.Traceparent, want)
		}
		if process[i].SpanKind != trace.SpanKindConsumer || len(process[i].Links) != 1 || process[i].Links[0].SpanContext.SpanID() != connect.SpanContext.SpanID() {
			t.Errorf("process %d: kind %v, links %v, want a consumer that links to connect", i, process[i].SpanKind, process[i].Links)
		}
	}
	for _, span := range exporter.GetSpans() {
		for _, kv := range span.Attributes {
			if strings.Contains(kv.Value.String(), "private words") || strings.Contains(kv.Value.String(), "secret") || strings.Contains(kv.Value.String(), "Bearer") {
				t.Errorf("span %s has %s=%s", span.Name, kv.Key, kv.Value.String())
			}
		}
		if span.SpanContext.TraceState().Len() != 0 {
			t.Errorf("span %s has the client's tracestate", span.Name)
		}
	}
	wantAttributes(t, connect, map[attribute.Key]string{"rpc.system.name": "grpc", "rpc.method": "chat.Chat/chatStream", "rpc.response.status_code": "OK", "enduser.id": "alice"})
	wantAttributes(t, process[0], map[attribute.Key]string{"rpc.method": "chat.Chat/chatStream", "enduser.id": "alice"})
}

func wantAttributes(t *testing.T, span tracetest.SpanStub, want map[attribute.Key]string) {
	t.Helper()
	got := attribute.NewSet(span.Attributes...)
	for key, value := range want {
		if v, ok := got.Value(key); !ok || v.String() != value {
			t.Errorf("span %s: %s is %q, want %q", span.Name, key, v.String(), value)
		}
	}
}

func TestRefusedConnectIsAnError(t *testing.T) {
	realm := authtest.NewRealm(t)
	provider, exporter := traced(t)
	alice := realm.User("alice")
	alice.Token = "no.such.token"
	if _, err := open(t, alice, start(t, realm, server.Config{Tracing: provider})).Recv(); err == nil {
		t.Fatal("a token that is none was accepted")
	}
	waitFor(t, "connect span", func() bool { return len(spans(exporter, "connect")) == 1 })
	span := spans(exporter, "connect")[0]
	if span.Status.Code != otelcodes.Error || span.Status.Description != "TOKEN_MALFORMED" {
		t.Errorf("status %v, want an error with the reason", span.Status)
	}
	wantAttributes(t, span, map[attribute.Key]string{"rpc.response.status_code": "UNAUTHENTICATED", "error.type": "TOKEN_MALFORMED"})
}

// A span that is not sampled costs the client nothing: it gets back what it sent.
func TestUnsampledMessages(t *testing.T) {
	realm := authtest.NewRealm(t)
	provider, exporter := traced(t, sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.NeverSample())))
	stream := open(t, realm.User("alice"), start(t, realm, server.Config{Tracing: provider}))
	unsampled := strings.TrimSuffix(sampledTrace, "1") + "0"
	if ack := echo(t, stream, &chatpb.ChatMessage{Traceparent: unsampled}); ack.Traceparent != unsampled {
		t.Errorf("the acknowledgement carries %q, want %q", ack.Traceparent, unsampled)
	}
	for _, malformed := range []string{"", "00-zz", strings.Repeat("x", 4096)} {
		if ack := echo(t, stream, &chatpb.ChatMessage{Traceparent: malformed}); ack.Traceparent != "" {
			t.Errorf("after %.20q the acknowledgement carries %q, want nothing", malformed, ack.Traceparent)
		}
	}
	if n := len(exporter.GetSpans()); n != 0 {
		t.Errorf("%d spans", n)
	}
}

func TestMetrics(t *testing.T) {
	realm := authtest.NewRealm(t)
	reader := sdkmetric.NewManualReader()
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	address := start(t, realm, server.Config{Metrics: provider})
	stream := open(t, realm.User("alice"), address)
	for range 3 {
		wantAlive(t, stream)
	}
	bob := realm.User("bob")
	bob.Token = ""
	for range 2 {
		if _, err := open(t, bob, address).Recv(); err == nil {
			t.Fatal("a stream without a token was accepted")
		}
	}
	// A client does not choose what a metric is called.
	for _, method := range []string{"/evil.Method/A", "/evil.Method/B"} {
		if err := realm.User("bob").Dial(address).Invoke(t.Context(), method, &chatpb.ChatMessage{}, &chatpb.ChatMessage{}); err == nil {
			t.Fatal("an unknown method was accepted")
		}
	}
	waitFor(t, "counted acknowledgements and refusals", func() bool {
		got := collect(t, reader)
		return got["securechat.streams.live"] == 1 && got["securechat.messages{direction=received}"] == 3 &&
			got["securechat.messages{direction=acknowledged}"] == 3 &&
			got["securechat.refusals{method=/chat.Chat/chatStream,reason=TOKEN_MISSING}"] == 2 &&
			got["securechat.refusals{method=_OTHER,reason=METHOD_DENIED}"] == 2 &&
			got["securechat.acknowledgement.duration"] == 1
	})
	for _, expiry := range realm.Server().Expiries() {
		name := fmt.Sprintf("securechat.certificate.expiry{serial=%s,subject=%s,use=%s}", expiry.Serial, strings.ReplaceAll(expiry.Name, "=", `\=`), expiry.Part)
		most := time.Until(expiry.At).Seconds() + 1
		if left := collect(t, reader)[name]; left <= 0 || left > most {
			t.Errorf("%s is %v, want the seconds until %v", name, left, expiry.At)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	waitFor(t, "no live stream", func() bool { return collect(t, reader)["securechat.streams.live"] == 0 })
}

// collect returns every data point under its name and encoded attributes: sums
// and gauges by value, histograms by count.
func collect(t *testing.T, reader sdkmetric.Reader) map[string]float64 {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &all); err != nil {
		t.Fatal(err)
	}
	points := make(map[string]float64)
	name := func(metric string, set attribute.Set) string {
		if set.Len() == 0 {
			return metric
		}
		return metric + "{" + set.Encoded(attribute.DefaultEncoder()) + "}"
	}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					points[name(m.Name, p.Attributes)] = float64(p.Value)
				}
			case metricdata.Gauge[float64]:
				for _, p := range data.DataPoints {
					points[name(m.Name, p.Attributes)] = p.Value
				}
			case metricdata.Histogram[float64]:
				for _, p := range data.DataPoints {
					points[name(m.Name, p.Attributes)] = float64(p.Count)
				}
			case metricdata.Histogram[int64]:
				for _, p := range data.DataPoints {
					points[name(m.Name, p.Attributes)] = float64(p.Count)
				}
			}
		}
	}
	return points
}

// One line for an admission, one for its end; one for a refusal. Never a token.
func TestLogLines(t *testing.T) {
	realm := authtest.NewRealm(t)
	log := &journal{}
	provider, _ := traced(t)
	address := start(t, realm, server.Config{Log: log.logger(), Tracing: provider})
	alice := realm.User("alice")
	stream := open(t, alice, address)
	echo(t, stream, &chatpb.ChatMessage{Message: "private words"})
	if got := len(log.lines(t, "admitted")); got != 1 {
		t.Fatalf("%d lines of admission, want one", got)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	waitFor(t, "line of the end", func() bool { return len(log.lines(t, "ended")) == 1 })
	end := log.lines(t, "ended")[0]
	if end["user"] != "alice" || end["code"] != "OK" || end["trace_id"] == nil || end["method"] != chatpb.Chat_ChatStream_FullMethodName {
		t.Errorf("the line of the end is %v", end)
	}
	mallory := realm.User("mallory")
	mallory.Token = alice.Token
	if _, err := open(t, mallory, address).Recv(); err == nil {
		t.Fatal("a stolen token was accepted")
	}
	waitFor(t, "line of the refusal", func() bool { return len(log.lines(t, "refused")) == 1 })
	if refusal := log.lines(t, "refused")[0]; refusal["reason"] != "TOKEN_BINDING" || refusal["certificate"] != "CN=mallory" || refusal["cause"] == "" {
		t.Errorf("the line of the refusal is %v", refusal)
	}
	for _, secret := range []string{"private words", alice.Token, strings.Split(alice.Token, ".")[2]} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log has %q", secret)
		}
	}
}

func TestTheStreamEndsWithItsToken(t *testing.T) {
	realm := authtest.NewRealm(t)
	log := &journal{}
	expires := time.Now().Add(time.Hour).Truncate(time.Second) // as a token says it
	var over atomic.Bool
	address := start(t, realm, server.Config{Log: log.logger(), Now: func() time.Time {
		if over.Load() {
			return expires
		}
		return expires.Add(-time.Minute)
	}})
	stream := open(t, realm.User("alice", func(c *auth.MintClaims) { c.Expires = expires }), address)
	if _, err := stream.Header(); err != nil {
		t.Fatal(err)
	}
	over.Store(true)
	_, err := stream.Recv()
	if reason, _ := auth.ReasonOf(err); reason != auth.TokenExpired {
		t.Fatalf("got %v, want TOKEN_EXPIRED", err)
	}
	waitFor(t, "line of the cut", func() bool { return len(log.lines(t, "ended")) == 1 })
	if line := log.lines(t, "ended")[0]; line["reason"] != "TOKEN_EXPIRED" {
		t.Errorf("the line of the cut is %v", line)
	}
}
