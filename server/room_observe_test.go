package server_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"

	"securechat/auth"
	chatpb "securechat/proto/chat"
	"securechat/server"
	"securechat/server/room/roomtest"
)

// A message in a room has a span from its receipt to its acknowledgement, under
// the client's, and the log's span is under that.
func TestSpansInARoom(t *testing.T) {
	provider, exporter := traced(t)
	c := openRooms(t, func(config *server.Config) { config.Tracing = provider })
	alice, bob := c.join(c.member("alice"), "lobby"), c.join(c.member("bob"), "lobby")
	alice.send(&chatpb.ChatMessage{Message: "private words", Traceparent: sampledTrace})
	alice.say("private words")
	acks := []*chatpb.ChatMessage{alice.heard(), alice.heard()}
	got := []*chatpb.ChatMessage{bob.heard(), bob.heard()}
	waitFor(t, "spans of the messages", func() bool { return len(spans(exporter, "process")) == 2 && len(spans(exporter, "connect")) == 2 })
	process := spans(exporter, "process")
	if process[0].Parent.SpanID().String() != clientSpan || process[0].SpanContext.TraceID().String() != clientTrace {
		t.Errorf("process is in trace %s under %s, want those of the message", process[0].SpanContext.TraceID(), process[0].Parent.SpanID())
	}
	if process[1].Parent.IsValid() {
		t.Error("process without a traceparent has a parent")
	}
	for i, span := range process {
		if want := chatpb.FormatTraceparent(span.SpanContext); acks[i].Traceparent != want {
			t.Errorf("acknowledgement %d carries %q, want its process span %q", i, acks[i].Traceparent, want)
		}
		if span.SpanKind != trace.SpanKindConsumer || len(span.Links) != 1 || !span.Links[0].SpanContext.IsValid() {
			t.Errorf("process %d: kind %v, links %v, want a consumer that links to connect", i, span.SpanKind, span.Links)
		}
		if parent, ok := chatpb.ParseTraceparent(got[i].Traceparent); !ok || parent.TraceID() != span.SpanContext.TraceID() {
			t.Errorf("message %d carries %q, want one of the trace %s", i, got[i].Traceparent, span.SpanContext.TraceID())
		}
	}
	for _, span := range exporter.GetSpans() {
		if strings.Contains(span.Name, "lobby") || strings.Contains(span.Name, "alice") {
			t.Errorf("a span is called %q", span.Name)
		}
		for _, kv := range span.Attributes {
			if strings.Contains(kv.Value.String(), "private") {
				t.Errorf("span %s has %s=%s", span.Name, kv.Key, kv.Value.String())
			}
		}
	}
}

// A message that the sampler leaves out has no spans at all: where it comes without
// a trace, the sampler would decide anew for each that had no parent.
func TestSpansInARoomOfWhatIsNotSampled(t *testing.T) {
	provider, exporter := traced(t, sdktrace.WithSampler(allBut("process")))
	c := openRooms(t, func(config *server.Config) { config.Tracing = provider })
	alice, bob := c.join(c.member("alice"), "lobby"), c.join(c.member("bob"), "lobby")
	alice.say("hello")
	alice.heard()
	if m := bob.heard(); m.Traceparent != "" {
		t.Errorf("the message carries %q", m.Traceparent)
	}
	for _, span := range exporter.GetSpans() {
		if span.Name != "connect" {
			t.Errorf("there is a span %s", span.Name)
		}
	}
}

// allBut samples all spans but those of that name.
type allBut string

func (name allBut) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	if p.Name == string(name) {
		return sdktrace.SamplingResult{Decision: sdktrace.Drop}
	}
	return sdktrace.SamplingResult{Decision: sdktrace.RecordAndSample}
}

func (name allBut) Description() string { return "all but " + string(name) }

// Where nothing records, a message's own context travels through the room.
func TestTraceContextWithoutSpansInARoom(t *testing.T) {
	c := openRooms(t)
	alice, bob := c.join(c.member("alice"), "lobby"), c.join(c.member("bob"), "lobby")
	alice.send(&chatpb.ChatMessage{Message: "hello", Traceparent: sampledTrace})
	if ack, got := alice.heard(), bob.heard(); ack.Traceparent != sampledTrace || got.Traceparent != sampledTrace {
		t.Errorf("the acknowledgement carries %q, the message %q, want %q", ack.Traceparent, got.Traceparent, sampledTrace)
	}
}

func TestMetricsOfRooms(t *testing.T) {
	reader := sdkmetric.NewManualReader()
	c := openRooms(t, func(config *server.Config) {
		config.Metrics = sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	})
	alice, bob := c.join(c.member("alice"), "lobby"), c.join(c.member("bob"), "lobby")
	c.join(c.member("carol"), "ops")
	for i := range 3 {
		alice.send(&chatpb.ChatMessage{Message: "hello", Id: fmt.Sprint(i)})
		alice.heard()
		bob.heard()
	}
	alice.send(&chatpb.ChatMessage{Message: "hello", Id: "0"})
	alice.heard()
	waitFor(t, "counted messages", func() bool {
		got := collect(t, reader)
		return got["securechat.rooms.open"] == 2 && got["securechat.rooms.members"] == 3 && got["securechat.streams.live"] == 3 &&
			got["securechat.rooms.posts"] == 3 && got["securechat.rooms.duplicates"] == 1 && got["securechat.rooms.deliveries"] == 7 &&
			got["securechat.log.queue"] == 0 && got["securechat.log.append.duration{outcome=stored}"] == 3 &&
			got["securechat.log.append.messages{outcome=stored}"] == 3 &&
			got["securechat.messages{direction=received}"] == 4 && got["securechat.messages{direction=acknowledged}"] == 4 &&
			got["securechat.acknowledgement.duration"] == 1
	})
	if err := bob.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	_ = bob.end()
	waitFor(t, "one member less", func() bool { return collect(t, reader)["securechat.rooms.members"] == 2 })
}

// What comes faster than it may is read later, all of it; other users are not held
// up, nor is the user's own listening.
func TestMessagesThatComeTooFast(t *testing.T) {
	const rate, total = 50, 75
	c := openRooms(t, func(config *server.Config) { config.Rooms.MessagesPerSecond = rate })
	user := c.member("alice")
	one, two, bob := c.join(user, "lobby"), c.join(user, "lobby"), c.join(c.member("bob"), "lobby")
	began := time.Now()
	go func() {
		for i := range total {
			seat := one
			if i%2 == 1 { // both streams are one user
				seat = two
			}
			if err := seat.stream.Send(&chatpb.ChatMessage{Message: fmt.Sprint(i)}); err != nil {
				t.Error(err)
			}
		}
	}()
	for range total {
		bob.heard()
	}
	// A second's worth may come at once.
	if took, least := time.Since(began), time.Second*(total-rate-2)/rate; took < least {
		t.Errorf("%d messages took %v, want %v at least", total, took, least)
	}
	bob.say("I am not held up")
	if m := bob.heard(); m.Kind != chatpb.Kind_ACKNOWLEDGEMENT {
		t.Errorf("bob gets %v", m)
	}
}

// The span of a message that is never acknowledged ends with its stream.
func TestSpansOfWhatIsNotAcknowledged(t *testing.T) {
	provider, exporter := traced(t)
	log := roomtest.NewMemory()
	c := openRooms(t, onLog(log), func(config *server.Config) { config.Tracing = provider })
	alice, bob := c.join(c.member("alice"), "lobby"), c.join(c.member("bob"), "lobby")
	release := log.HoldAppends()
	defer release()
	alice.send(&chatpb.ChatMessage{Message: "lost?", Traceparent: sampledTrace})
	alice.send(&chatpb.ChatMessage{Kind: chatpb.Kind_TYPING}) // of which bob is told once the message has been taken
	bob.until(chatpb.Kind_TYPING)
	for _, session := range c.server.Sessions() {
		if session.User == "alice" {
			c.server.End(session.ID)
		}
	}
	wantReason(t, alice.end(), codes.PermissionDenied, auth.Expelled)
	waitFor(t, "span of the message", func() bool { return len(spans(exporter, "process")) == 1 })
}
