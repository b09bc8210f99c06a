package server_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc/codes"

	"securechat/auth"
	chatpb "securechat/proto/chat"
	"securechat/server"
)

// faulty panics at the first start, or else the first end, of a span of the name.
type faulty struct {
	start, end string
	done       atomic.Bool
}

func (f *faulty) OnStart(_ context.Context, span sdktrace.ReadWriteSpan) {
	f.at(span.Name() == f.start)
}
func (f *faulty) OnEnd(span sdktrace.ReadOnlySpan) { f.at(span.Name() == f.end) }
func (*faulty) Shutdown(context.Context) error     { return nil }
func (*faulty) ForceFlush(context.Context) error   { return nil }

func (f *faulty) at(here bool) {
	if here && f.done.CompareAndSwap(false, true) {
		panic("inner workings")
	}
}

// A panic in either half of a stream in a room ends that stream alone, also where a
// message has been taken that will never be acknowledged.
func TestAPanicInARoomEndsItsStream(t *testing.T) {
	for name, fault := range map[string]*faulty{
		"while it receives": {start: "store"},
		"while it delivers": {end: "process"},
	} {
		t.Run(name, func(t *testing.T) {
			lines := &journal{}
			provider, _ := traced(t, sdktrace.WithSpanProcessor(fault))
			c := openRooms(t, func(config *server.Config) { config.Tracing, config.Log = provider, lines.logger() })
			alice, bob := c.join(c.member("alice"), "lobby"), c.join(c.member("bob"), "lobby")
			alice.say("hello")
			err := alice.end()
			wantReason(t, err, codes.Internal, auth.Internal)
			if strings.Contains(err.Error(), "inner workings") || strings.Contains(err.Error(), "goroutine") {
				t.Errorf("the client is told %v", err)
			}
			bob.say("I am still here")
			bob.until(chatpb.Kind_ACKNOWLEDGEMENT)
			bob.until(chatpb.Kind_LEFT) // both halves of alice's stream have ended
			var causes string
			for _, line := range lines.lines(t, "ended") {
				cause, _ := line["cause"].(string)
				causes += cause
			}
			if !strings.Contains(causes, "inner workings") || !strings.Contains(causes, "conversation") {
				t.Errorf("the log says %q, want the panic and where it was", causes)
			}
		})
	}
}
