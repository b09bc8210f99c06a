package client

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	oteltrace "go.opentelemetry.io/otel/trace"

	"securechat/auth/authtest"
	chatpb "securechat/proto/chat"
	"securechat/server"
)

// A recorder keeps the spans of one side.
type recorder struct {
	*trace.TracerProvider
	spans *tracetest.InMemoryExporter
}

func record(t *testing.T, options ...trace.TracerProviderOption) recorder {
	t.Helper()
	exporter := tracetest.NewInMemoryExporter()
	provider := trace.NewTracerProvider(append(options, trace.WithSyncer(exporter))...)
	t.Cleanup(func() { _ = provider.Shutdown(t.Context()) })
	return recorder{provider, exporter}
}

func (r recorder) named(name string) []tracetest.SpanStub {
	return slices.DeleteFunc(r.spans.GetSpans(), func(s tracetest.SpanStub) bool { return s.Name != name })
}

func attributeOf(s tracetest.SpanStub, key string) string {
	for _, a := range s.Attributes {
		if string(a.Key) == key {
			return a.Value.String()
		}
	}
	return ""
}

// One message is one trace over both processes, linked to connect, and all of it
// is there while the stream is open.
func TestSpansOfMessage(t *testing.T) {
	realm := authtest.NewRealm(t)
	here, there := record(t), record(t)
	address := startServer(t, realm, func(c *server.Config) { c.Tracing = there })
	user := realm.User("alice")
	conn := dial(t, user, address, func(c *Config) { c.Tracing = here })
	stream := open(t, conn)

	const secret = "the text of the message"
	ctx, caller := here.Tracer("test").Start(patient(t), "caller")
	defer caller.End()
	must(t, stream.Send(ctx, secret))
	m, err := stream.Receive(ctx)
	must(t, err)

	one := func(r recorder, name string) tracetest.SpanStub {
		t.Helper()
		spans := r.named(name)
		if len(spans) != 1 {
			t.Fatalf("got %d spans %q, want 1", len(spans), name)
		}
		return spans[0]
	}
	eventually(t, "the server's span does not end", func() bool { return len(there.named("process")) > 0 }) // once the acknowledgement is on its way
	connect, send, receive := one(here, "connect"), one(here, "send"), one(here, "receive")
	admission, process := one(there, "connect"), one(there, "process")

	wantParent := func(child, parent tracetest.SpanStub) {
		t.Helper()
		if child.Parent.SpanID() != parent.SpanContext.SpanID() || child.SpanContext.TraceID() != parent.SpanContext.TraceID() {
			t.Errorf("%q is not a child of %q", child.Name, parent.Name)
		}
	}
	wantParent(admission, connect)
	wantParent(process, send)
	wantParent(receive, process)
	if send.Parent.SpanID() != caller.SpanContext().SpanID() {
		t.Error("send is not a child of the caller's span")
	}
	if m.TraceID != send.SpanContext.TraceID().String() {
		t.Errorf("got trace id %q, want that of send", m.TraceID)
	}
	for _, s := range []tracetest.SpanStub{send, receive} {
		if len(s.Links) != 1 || s.Links[0].SpanContext.SpanID() != connect.SpanContext.SpanID() {
			t.Errorf("%q does not link to connect alone", s.Name)
		}
		if attributeOf(s, "enduser.id") != "alice" {
			t.Errorf("%q: enduser.id is %q", s.Name, attributeOf(s, "enduser.id"))
		}
	}
	for s, kind := range map[*tracetest.SpanStub]oteltrace.SpanKind{
		&connect: oteltrace.SpanKindClient, &send: oteltrace.SpanKindProducer, &receive: oteltrace.SpanKindConsumer,
	} {
		if s.SpanKind != kind {
			t.Errorf("%q has kind %v, want %v", s.Name, s.SpanKind, kind)
		}
		if attributeOf(*s, "rpc.system.name") != "grpc" || attributeOf(*s, "rpc.method") != "chat.Chat/chatStream" {
			t.Errorf("%q has attributes %v", s.Name, s.Attributes)
		}
	}
	if all := fmt.Sprintf("%+v", here.spans.GetSpans()); strings.Contains(all, secret) || strings.Contains(all, user.Token) {
		t.Error("a text or a token is in the spans")
	}
}

// A refusal is marked as an error, with its reason.
func TestSpansOfRefusal(t *testing.T) {
	realm := authtest.NewRealm(t)
	here := record(t)
	user := realm.User("alice", expired)
	conn := dial(t, user, startServer(t, realm), func(c *Config) { c.Tracing = here })
	if _, err := conn.Open(patient(t)); err == nil {
		t.Fatal("admitted")
	}
	spans := here.named("connect")
	if len(spans) != 1 {
		t.Fatalf("got %d spans", len(spans))
	}
	s := spans[0]
	if s.Status.Code != codes.Error || s.Status.Description != "TOKEN_EXPIRED" || attributeOf(s, "error.type") != "TOKEN_EXPIRED" || attributeOf(s, "rpc.response.status_code") != "UNAUTHENTICATED" {
		t.Errorf("got status %+v, attributes %v", s.Status, s.Attributes)
	}
	if strings.Contains(fmt.Sprintf("%+v", s), user.Token) {
		t.Error("the token is in the span")
	}
}

// What is not sampled here is not sampled there, and no spans are made of it.
func TestSpansUnsampled(t *testing.T) {
	realm := authtest.NewRealm(t)
	here, there := record(t, trace.WithSampler(trace.NeverSample())), record(t)
	address := startServer(t, realm, func(c *server.Config) { c.Tracing = there })
	stream := open(t, dial(t, realm.User("alice"), address, func(c *Config) { c.Tracing = here }))
	must(t, stream.Send(patient(t), "x"))
	_, err := stream.Receive(patient(t))
	must(t, err)
	if n := len(here.spans.GetSpans()); n != 0 {
		t.Errorf("got %d spans here, want none", n)
	}
	// The server sees every stream's opening, as a trace of its own here.
	if all, connects := there.spans.GetSpans(), there.named("connect"); len(all) != 1 || len(connects) != 1 || connects[0].Parent.IsValid() {
		t.Errorf("got %+v at the server, want its own connect alone", all)
	}
}

// Nor is what somebody else did not sample, though everything is sampled here.
func TestSpansUnsampledElsewhere(t *testing.T) {
	realm := authtest.NewRealm(t)
	here := record(t, trace.WithSampler(trace.AlwaysSample()))
	const traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
	address := startOdd(t, realm, func(stream chatpb.Chat_ChatStreamServer) error {
		return stream.Send(&chatpb.ChatMessage{Traceparent: "00-" + traceID + "-00f067aa0ba902b7-00"})
	})
	stream := open(t, dial(t, realm.User("alice"), address, func(c *Config) { c.Tracing = here }))
	if m, err := stream.Receive(patient(t)); err != nil || m.TraceID != traceID {
		t.Errorf("got %+v, %v, want the trace id all the same", m, err)
	}
	if spans := here.named("receive"); len(spans) != 0 {
		t.Errorf("got %+v, want none", spans)
	}
}

// The span of a message that could not be sent says so.
func TestSpansOfSendFailing(t *testing.T) {
	realm := authtest.NewRealm(t)
	here := record(t)
	address := startOdd(t, realm, func(stream chatpb.Chat_ChatStreamServer) error {
		if err := stream.SendHeader(nil); err != nil {
			return err
		}
		_, err := stream.Recv()
		return err
	})
	stream := open(t, dial(t, realm.User("alice"), address, func(c *Config) { c.Tracing = here }))
	ctx := patient(t)
	var err error
	for err == nil {
		err = stream.Send(ctx, "x")
	}
	if !errors.Is(err, ErrEnded) {
		t.Fatalf("got %v, want ErrEnded", err)
	}
	spans := here.named("send")
	if last := spans[len(spans)-1]; last.Status.Code != codes.Error {
		t.Errorf("got status %+v, want an error", last.Status)
	}
}

// After a move there is another connect, and messages are linked to that.
func TestSpansAfterMove(t *testing.T) {
	realm := authtest.NewRealm(t)
	here := record(t)
	w := walletOf(realm.User("alice"))
	listen, all := events()
	conn := dial(t, nil, startServer(t, realm), listen, w.use, func(c *Config) { c.Tracing = here })
	stream := open(t, conn)
	w.rotate(realm.User("alice"))
	wantMoved(t, all, 1)
	must(t, stream.Send(patient(t), "x"))
	if _, err := stream.Receive(patient(t)); err != nil {
		t.Fatal(err)
	}
	connects, messages := here.named("connect"), append(here.named("send"), here.named("receive")...)
	if len(connects) != 2 || len(messages) != 2 {
		t.Fatalf("got %d connects and %d messages", len(connects), len(messages))
	}
	for _, s := range messages {
		if len(s.Links) != 1 || s.Links[0].SpanContext.SpanID() != connects[1].SpanContext.SpanID() {
			t.Errorf("%q has links %v, want one to the second connect", s.Name, s.Links)
		}
	}
}
