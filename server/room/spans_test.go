package room_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"

	chatpb "securechat/proto/chat"
	"securechat/server/room"
	"securechat/server/room/roomtest"
)

// A message is one trace over two nodes: the post's span, "store", and a
// "deliver" on each node, whose context members get.
func TestAMessageIsOneTraceOverNodes(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	tracer := provider.Tracer("test")
	cluster := roomtest.NewCluster(roomtest.NewMemory())
	var hubs []*room.Hub
	for range 2 {
		node := cluster.Node()
		hubs = append(hubs, newHub(t, room.Config{Log: node, Cluster: node, Tracer: tracer}))
	}
	alice := joinLive(t, hubs[0], "ops", "alice")
	joinLive(t, hubs[0], "ops", "carol")
	bob := joinLive(t, hubs[1], "ops", "bob")
	_, process := tracer.Start(t.Context(), "process")
	if err := alice.Post(t.Context(), room.Posting{Text: "hello", Trace: process.SpanContext()}); err != nil {
		t.Fatal(err)
	}
	ack := alice.wantAck()
	var message chatpb.ChatMessage
	for message.Message != "hello" {
		e, err := bob.next()
		if err != nil {
			t.Fatal(err)
		}
		if err := proto.Unmarshal(e.Wire, &message); err != nil {
			t.Fatal(err)
		}
	}
	got := map[string][]sdktrace.ReadOnlySpan{}
	for _, span := range spans.Ended() {
		got[span.Name()] = append(got[span.Name()], span)
	}
	if len(got["store"]) != 1 || len(got["deliver"]) != 2 {
		t.Fatalf("the spans are %v", got)
	}
	store := got["store"][0]
	if store.Parent().SpanID() != process.SpanContext().SpanID() {
		t.Errorf("the parent of store is %v", store.Parent())
	}
	if want := chatpb.FormatTraceparent(store.SpanContext()); ack.Traceparent != want {
		t.Errorf("stored in %s, want %s", ack.Traceparent, want)
	}
	members := map[int64]bool{}
	for _, deliver := range got["deliver"] {
		if deliver.Parent().SpanID() != store.SpanContext().SpanID() || !deliver.Parent().IsRemote() {
			t.Errorf("the parent of deliver is %v", deliver.Parent())
		}
		for _, a := range deliver.Attributes() {
			if a.Key == attribute.Key("chat.members") {
				members[a.Value.AsInt64()] = true
				if a.Value.AsInt64() == 1 && message.Traceparent != chatpb.FormatTraceparent(deliver.SpanContext()) {
					t.Errorf("bob got it in %s", message.Traceparent)
				}
			}
		}
	}
	if !members[1] || !members[2] {
		t.Errorf("delivered to %v members", members)
	}
}

func TestASpanSaysThatAMessageCouldNotBeStored(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)).Tracer("test")
	log := roomtest.NewMemory()
	hub := newHub(t, room.Config{Log: log, Tracer: tracer})
	alice := joinLive(t, hub, "ops", "alice")
	log.Fail(errors.New("the disk is full"))
	alice.postTraced(tracer, "hello")
	alice.wantEnd(room.ErrUnavailable)
	if ended := spans.Ended(); len(ended) != 1 || ended[0].Status().Code != codes.Error {
		t.Errorf("the spans are %v", ended)
	}
}

// So does that of one that is not stored because the one before it could not be.
func TestASpanSaysThatAMessageWasDropped(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)).Tracer("test")
	log := &failingOnce{Log: roomtest.NewMemory(), begun: make(chan struct{}), release: make(chan struct{})}
	hub := newHub(t, room.Config{Log: log, Tracer: tracer})
	alice, bob := joinLive(t, hub, "ops", "alice"), joinLive(t, hub, "other", "bob")
	alice.postTraced(tracer, "1") // fails
	<-log.begun
	alice.postTraced(tracer, "2") // waits behind it
	bob.postTraced(tracer, "3")
	close(log.release)
	bob.wantAck()
	failed := 0
	for _, span := range spans.Ended() {
		if span.Name() == "store" && span.Status().Code == codes.Error {
			failed++
		}
	}
	if failed != 2 {
		t.Errorf("%d of the spans say that a message could not be stored, want 2", failed)
	}
}

// Without a tracer the context of the post is handed on as it is.
func TestTracesPassThroughAHubWithoutTracer(t *testing.T) {
	tracer := sdktrace.NewTracerProvider().Tracer("test")
	_, span := tracer.Start(t.Context(), "process")
	hub, _ := memoryHub(t)
	alice := joinLive(t, hub, "ops", "alice")
	if err := alice.Post(t.Context(), room.Posting{Text: "hello", Trace: span.SpanContext()}); err != nil {
		t.Fatal(err)
	}
	if got, want := alice.wantAck().Traceparent, chatpb.FormatTraceparent(span.SpanContext()); got != want {
		t.Errorf("stored in %q, want %q", got, want)
	}
}

// A post that nobody traces is not traced by the hub.
func TestAPostWithoutATraceHasNoSpans(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)).Tracer("test")
	hub := newHub(t, room.Config{Log: roomtest.NewMemory(), Tracer: tracer})
	alice := joinLive(t, hub, "ops", "alice")
	alice.post("", "hello")
	if ack := alice.wantAck(); ack.Traceparent != "" {
		t.Errorf("stored in %q, want no trace", ack.Traceparent)
	}
	if started := spans.Started(); len(started) != 0 {
		t.Errorf("the spans are %v, want none", started)
	}
}

// postTraced posts in a span that does not end.
func (s *session) postTraced(tracer trace.Tracer, text string) {
	s.t.Helper()
	_, process := tracer.Start(s.t.Context(), "process")
	if err := s.Post(s.t.Context(), room.Posting{Text: text, Trace: process.SpanContext()}); err != nil {
		s.t.Fatalf("post %q: %v", text, err)
	}
}

// A tracer that panics costs its post, and not the room: that is given up like any
// other.
func TestARoomIsGivenUpAfterATracersPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, span := sdktrace.NewTracerProvider().Tracer("test").Start(t.Context(), "process")
		sampled := span.SpanContext()
		tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(panicking{})).Tracer("test")
		hub := newHub(t, room.Config{Log: roomtest.NewMemory(), Tracer: tracer})
		alice := joinLive(t, hub, "ops", "alice")
		func() {
			defer func() {
				if recover() == nil {
					t.Error("nothing has panicked")
				}
			}()
			_ = alice.Post(t.Context(), room.Posting{Text: "1", Trace: sampled})
		}()
		alice.Leave()
		time.Sleep(10 * time.Second) // the bubble's clock
		wantRooms(t, hub, 0)
	})
}

// panicking panics when a span begins.
type panicking struct{ sdktrace.SpanProcessor }

func (panicking) OnStart(context.Context, sdktrace.ReadWriteSpan) { panic("a span begins") }
func (panicking) Shutdown(context.Context) error                  { return nil }
func (panicking) OnEnd(sdktrace.ReadOnlySpan)                     {}
