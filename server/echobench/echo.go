package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"securechat/auth/authtest"
	chatpb "securechat/proto/chat"
	"securechat/server"
	"securechat/server/internal/measure"
)

// window is how many messages are on their way at a time.
const window = 64

// text is the message that every variant echoes.
const text = "Hello, server! How are you today?"

// A variant is one way to serve the same contract.
type variant struct {
	name string
	// start serves until the benchmark ends and returns a connection.
	start func(b *testing.B) *grpc.ClientConn
	// traceparent is what each message carries.
	traceparent string
}

// variants are compared with the first.
var variants = []variant{
	{name: "plain", start: plain},
	{name: "secured", start: func(b *testing.B) *grpc.ClientConn { return secured(b, nil) }},
	{name: "secured+traced/unsampled", start: func(b *testing.B) *grpc.ClientConn {
		return secured(b, sdktrace.ParentBased(sdktrace.TraceIDRatioBased(0)))
	}},
	{name: "secured+traced/every-message", start: func(b *testing.B) *grpc.ClientConn {
		return secured(b, sdktrace.AlwaysSample())
	}},
}

// plainChat is the echo as anyone would write it.
type plainChat struct{ chatpb.UnimplementedChatServer }

func (plainChat) ChatStream(stream chatpb.Chat_ChatStreamServer) error {
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		err = stream.Send(&chatpb.ChatMessage{
			User:      "Server",
			Message:   "Acknowledged: " + m.GetMessage(),
			Timestamp: time.Now().UTC().Format(chatpb.TimestampFormat),
		})
		if err != nil {
			return err
		}
	}
}

func plain(b *testing.B) *grpc.ClientConn {
	b.Helper()
	srv := grpc.NewServer()
	chatpb.RegisterChatServer(srv, plainChat{})
	listener := listen(b)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(listener) }()
	b.Cleanup(func() { srv.Stop(); <-served })
	conn, err := grpc.NewClient("passthrough:///"+listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close() })
	return conn
}

// secured is the whole service: mutual TLS, token, stamp, metrics, and spans by
// sampler where there is one.
func secured(b *testing.B, sampler sdktrace.Sampler) *grpc.ClientConn {
	b.Helper()
	realm := authtest.NewRealm(b)
	config := server.Config{
		Certificates: realm.Server(), Tokens: realm.Verifier(), Log: slog.New(slog.DiscardHandler), Tracing: tracing(b, sampler),
		Metrics: sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader())),
	}
	srv, err := server.New(config)
	if err != nil {
		b.Fatal(err)
	}
	listener := listen(b)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(listener) }()
	b.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		srv.Shutdown(ctx)
		<-served
	})
	return realm.User("alice").Dial(listener.Addr().String())
}

func tracing(b *testing.B, sampler sdktrace.Sampler) trace.TracerProvider {
	if sampler == nil {
		return nil
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithSampler(sampler), sdktrace.WithBatcher(discard{}))
	b.Cleanup(func() { _ = provider.Shutdown(context.Background()) })
	return provider
}

// discard is an exporter that costs nothing: what is measured is the making of
// spans, not a collector.
type discard struct{}

func (discard) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return nil }
func (discard) Shutdown(context.Context) error                             { return nil }

func listen(b *testing.B) net.Listener {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	return listener
}

// messages measures a message and its acknowledgement on one long stream.
func (v variant) messages(b *testing.B) {
	stream, err := chatpb.NewChatClient(v.start(b)).ChatStream(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	message := &chatpb.ChatMessage{User: "alice", Message: text, Traceparent: v.traceparent}
	exchange(b, stream, message, 4*window) // warm
	b.ReportAllocs()
	b.ResetTimer()
	before := measure.CPU()
	exchange(b, stream, message, b.N)
	b.ReportMetric(float64(measure.CPU()-before)/float64(b.N), "cpu-ns/op")
	b.StopTimer()
	if err := stream.CloseSend(); err != nil {
		b.Fatal(err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		b.Fatal(err)
	}
}

// exchange sends n messages, at most window of them unanswered, and receives
// their acknowledgements.
func exchange(b *testing.B, stream chatpb.Chat_ChatStreamClient, message *chatpb.ChatMessage, n int) {
	places := make(chan struct{}, window)
	sent := make(chan error, 1)
	go func() {
		for range n {
			places <- struct{}{}
			if err := stream.Send(message); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	for range n {
		if _, err := stream.Recv(); err != nil {
			b.Fatal(err)
		}
		<-places
	}
	if err := <-sent; err != nil {
		b.Fatal(err)
	}
}

// streams measures a stream that is opened, used for one message, and closed, on
// one connection.
func (v variant) streams(b *testing.B) {
	client := chatpb.NewChatClient(v.start(b))
	message := &chatpb.ChatMessage{User: "alice", Message: text, Traceparent: v.traceparent}
	once := func() {
		stream, err := client.ChatStream(context.Background())
		if err != nil {
			b.Fatal(err)
		}
		exchange(b, stream, message, 1)
		if err := stream.CloseSend(); err != nil {
			b.Fatal(err)
		}
		if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
			b.Fatal(err)
		}
	}
	once()
	b.ReportAllocs()
	b.ResetTimer()
	before := measure.CPU()
	for range b.N {
		once()
	}
	b.ReportMetric(float64(measure.CPU()-before)/float64(b.N), "cpu-ns/op")
}
