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

// Supervise is the step that ends a stream when its caller's authority ends:
// when the token or a certificate of the chain expires, when either is revoked,
// when the authority's root leaves the trusted ones or the token's key its key
// set, when the policy changes, and when an operator says so (Guard.End). It
// does so within a second, whatever the handler is doing: sending, only
// listening, or stuck. From that moment nothing the handler sends reaches the
// transport and nothing more reaches the handler.
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
	ctx := stream.Context()
	authority, ok := authorityOf(ctx)
	if !ok {
		return errUnverified
	}
	supervised := &supervisedStream{ServerStream: stream}
	session := &session{
		ctx: ctx, method: info.FullMethod, peer: peerAddress(ctx), started: g.config.Now(),
		chains: verifiedChains(ctx), authority: authority, stream: supervised, cut: make(chan *Refusal, 1),
	}
	if g.config.MaxSession > 0 {
		session.last = session.started.Add(g.config.MaxSession)
	}
	if refusal := g.supervisor.begin(session); refusal != nil {
		return refusal
	}
	defer g.supervisor.leave(session)

	ended := make(chan error, 1)
	g.running.Go(func() { ended <- g.run(srv, supervised, info, handler) })
	select {
	case err := <-ended:
		if panicked, ok := err.(*HandlerPanic); ok {
			panic(panicked)
		}
		return err
	case cut := <-session.cut:
		supervised.cut.Store(cut)
		return cut
	}
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

// supervisedStream hands nothing on once it has been cut, and accepts nothing
// more once it is leaving.
type supervisedStream struct {
	grpc.ServerStream
	cut       atomic.Pointer[Refusal]
	leaving   atomic.Pointer[Refusal]
	receiving atomic.Bool // the handler waits in RecvMsg
}

func (s *supervisedStream) SendMsg(m any) error {
	if cut := s.cut.Load(); cut != nil {
		return cut
	}
	return s.ServerStream.SendMsg(m)
}

// RecvMsg does not hand on a message that arrives with the end: it has not been
// accepted, and will not be acknowledged.
func (s *supervisedStream) RecvMsg(m any) error {
	s.receiving.Store(true)
	defer s.receiving.Store(false)
	if over := s.over(); over != nil {
		return over
	}
	err := s.ServerStream.RecvMsg(m)
	if over := s.over(); over != nil {
		return over
	}
	return err
}

func (s *supervisedStream) over() error {
	if cut := s.cut.Load(); cut != nil {
		return cut
	}
	if leaving := s.leaving.Load(); leaving != nil {
		return leaving
	}
	return nil
}

// leave ends the stream once the handler has dealt with what it has received: at
// once where it waits for more, otherwise when it next asks for more. Either
// RecvMsg sees leaving or leave sees receiving.
func (s *session) leave(r *Refusal) {
	s.stream.leaving.Store(r)
	if s.stream.receiving.Load() {
		s.end(r)
	}
}

// Drain ends every stream with UNAVAILABLE, DRAINING and a RetryInfo, spread
// evenly over the time given so that the callers do not all come back at once,
// each when its handler has dealt with what it had received. New streams are
// refused from now on. It returns when all have been told or ctx ends.
func (g *Guard) Drain(ctx context.Context, over time.Duration) {
	refusal := Refusef(Draining, "the server drains")
	g.supervisor.refuse(refusal.After(drainRetry))
	live := g.supervisor.spread()
	for i, session := range live {
		session.leave(refusal.After(drainRetry))
		if i == len(live)-1 || !pause(ctx, over/time.Duration(len(live))) {
			return
		}
	}
}

// drainRetry is how soon a caller may try again: another server may be up.
const drainRetry = time.Second

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
