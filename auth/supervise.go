package auth

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
)

// Supervise is the step that ends a stream when its caller's authority ends,
// whatever the handler is doing: sending, only listening, or stuck. From that
// moment nothing the handler sends reaches the transport and nothing more
// reaches the handler.
//
// The handler runs on a goroutine of its own, because grpc-go wakes a handler
// that is blocked in Recv or Send only once the interceptor has returned. A
// handler that outlives its stream is waited for by Guard.Wait.
//
// A unary call gets the end of its authority as its deadline.
func (g *Guard) Supervise() Interceptor {
	return Interceptor{Unary: g.superviseUnary, Stream: g.superviseStream}
}

func (g *Guard) superviseUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	id, ok := FromContext(ctx)
	if !ok {
		return nil, errUnverified
	}
	ctx, cancel := context.WithTimeoutCause(ctx, id.Expires.Sub(g.config.Now()), expired(id))
	defer cancel()
	return handler(ctx, req)
}

func (g *Guard) superviseStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	id, ok := FromContext(stream.Context())
	if !ok {
		return errUnverified
	}
	supervised := &supervisedStream{ServerStream: stream}
	ended := make(chan error, 1)
	g.handlers.Go(func() { ended <- g.run(srv, supervised, info, handler) })

	expiry := time.NewTimer(id.Expires.Sub(g.config.Now()))
	defer expiry.Stop()
	select {
	case err := <-ended:
		if panicked, ok := err.(*HandlerPanic); ok {
			panic(panicked)
		}
		return err
	case <-expiry.C:
		cut := expired(id)
		supervised.cut.Store(cut)
		return cut
	}
}

func expired(id Identity) *Refusal {
	return Refusef(id.ExpiresBy, "the authority of %q ended at %s", id.User, id.Expires.UTC().Format(time.RFC3339))
}

// run calls the handler. A panic becomes a *HandlerPanic for the goroutine that
// supervises, or is logged when that one has gone.
func (g *Guard) run(srv any, stream *supervisedStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	defer func() {
		value := recover()
		if value == nil {
			return
		}
		panicked := &HandlerPanic{Value: value, Stack: debug.Stack()}
		if stream.cut.Load() != nil {
			g.config.Log.Error("a handler panicked after its stream had been cut",
				slog.String("method", info.FullMethod), slog.String("panic", fmt.Sprint(value)), slog.String("stack", string(panicked.Stack)))
		}
		err = panicked
	}()
	return handler(srv, stream)
}

// A HandlerPanic is a handler's panic, passed on to the goroutine on which the
// interceptors run so that a recovery step there finds it.
type HandlerPanic struct {
	// Value is what the handler panicked with.
	Value any
	// Stack is where, as debug.Stack gives it.
	Stack []byte
}

func (p *HandlerPanic) Error() string { return fmt.Sprintf("a handler panicked: %v", p.Value) }

// supervisedStream hands nothing on once it has been cut.
type supervisedStream struct {
	grpc.ServerStream
	cut atomic.Pointer[Refusal]
}

func (s *supervisedStream) SendMsg(m any) error {
	if cut := s.cut.Load(); cut != nil {
		return cut
	}
	return s.ServerStream.SendMsg(m)
}

func (s *supervisedStream) RecvMsg(m any) error {
	if cut := s.cut.Load(); cut != nil {
		return cut
	}
	err := s.ServerStream.RecvMsg(m)
	if cut := s.cut.Load(); cut != nil {
		return cut
	}
	return err
}
