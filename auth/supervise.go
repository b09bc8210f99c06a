package auth

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"google.golang.org/grpc"
)

// Supervise is the step that ends a stream when its caller's authority ends:
// when the token or a certificate of the chain expires, when either is revoked,
// when the authority's root leaves the trusted ones or the token's key its key
// set, when the policy changes, and when an operator says so (Guard.End). It
// does so within a second, whatever the handler is doing: sending, only
// listening, or stuck. From that moment nothing the handler sends reaches the
// transport and nothing more reaches the handler; of a message that is being
// sent at that moment it is not known whether it arrives.
//
// The handler runs on a goroutine of its own, because grpc-go wakes a handler
// that is blocked in Recv or Send only once the interceptor has returned. A
// handler that outlives its stream is waited for by Guard.Wait.
//
// A unary call gets the end of its authority as its deadline, and is refused
// with the reason of that end if its handler returns later than that, whatever
// the handler returns. It is not ended otherwise.
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
	if refusal := endedBy(ctx); refusal != nil {
		return nil, refusal
	}
	response, err := handler(ctx, req)
	if refusal := endedBy(ctx); refusal != nil {
		return nil, refusal
	}
	return response, err
}

// endedBy returns the refusal that ended ctx, or nil.
func endedBy(ctx context.Context) *Refusal {
	var refusal *Refusal
	if errors.As(context.Cause(ctx), &refusal) {
		return refusal
	}
	return nil
}

func (g *Guard) superviseStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	ctx := stream.Context()
	authority, ok := authorityOf(ctx)
	if !ok {
		return errUnverified
	}
	session := &session{
		ctx: ctx, method: info.FullMethod, peer: peerAddress(ctx), started: g.config.Now(), replies: !info.IsClientStream,
		chains: verifiedChains(ctx), authority: authority, stream: supervise(stream),
	}
	session.stream.session = session
	session.chainEnd.Store(endOfTime.UnixNano())
	if g.config.MaxSession > 0 {
		session.last = session.started.Add(g.config.MaxSession)
	}
	if refusal := g.supervisor.begin(session); refusal != nil {
		return refusal
	}
	defer g.supervisor.leave(session)

	returned := make(chan error, 1)
	g.supervisor.start(func() { g.run(srv, session, info, handler, returned) })
	select {
	case err := <-returned:
		return g.outcome(session, err)
	case <-session.stream.cut:
	}
	session.abandoned.Store(true)
	g.logAbandoned(session, returned)
	return session.stream.ended()
}

// outcome is how a stream ends whose handler has returned. One that has been cut
// ends with that whatever the handler makes of it, as does one whose handler was
// told to leave; a panic goes on to the recovery step.
func (g *Guard) outcome(s *session, err error) error {
	var panicked *HandlerPanic
	cut := s.stream.ended()
	switch {
	case errors.As(err, &panicked) && cut != nil:
		g.logPanic(panickedLate, s.method, panicked)
	case panicked != nil:
		panic(panicked)
	}
	if refusal := s.stream.refusalIf(over | told); refusal != nil {
		return refusal
	}
	return err
}

// run calls the handler and hands over how it ended: by returning, by a panic, or
// by runtime.Goexit, as a test that fails does.
func (g *Guard) run(srv any, s *session, info *grpc.StreamServerInfo, handler grpc.StreamHandler, returned chan error) {
	var err error = Refusef(Internal, "the handler of %.200q ended its goroutine and did not return", info.FullMethod)
	defer func() {
		if value := recover(); value != nil {
			err = &HandlerPanic{Value: value, Stack: debug.Stack()}
		}
		returned <- err
		if s.abandoned.Load() {
			g.logAbandoned(s, returned)
		}
	}()
	err = handler(srv, s.stream)
}

// logAbandoned logs the panic of a handler that nobody waits for, once.
func (g *Guard) logAbandoned(s *session, returned <-chan error) {
	select {
	case err := <-returned:
		var panicked *HandlerPanic
		if errors.As(err, &panicked) {
			g.logPanic(panickedLate, s.method, panicked)
		}
	default:
	}
}

const panickedLate = "a handler panicked after its stream had been cut"

type supervisedKey struct{}

// Hold tells the guard that the running stream owes its client an answer to a
// message that it has received, until release is called. Drain leaves a stream
// alone while it waits for a message and owes nothing. A handler that answers a
// message before it receives the next needs no Hold; one that answers on another
// goroutine calls it for each message before it receives the next. A stream
// whose authority ends is ended all the same.
//
// release may be called more than once. Hold may be called with any context; of
// one that is not a supervised stream's it does nothing.
func Hold(ctx context.Context) (release func()) {
	if stream, ok := ctx.Value(supervisedKey{}).(*supervisedStream); ok {
		return stream.hold()
	}
	return func() {}
}

// Cut ends the running stream from inside, as Guard.End does from outside: its
// client gets the refusal at once, also where another goroutine of the handler is
// stuck in SendMsg or RecvMsg, which return then. Cut says whether the stream had
// not been cut before. It may be called from any goroutine; with a context that is
// not a supervised stream's it does nothing.
func Cut(ctx context.Context, refusal *Refusal) bool {
	stream, ok := ctx.Value(supervisedKey{}).(*supervisedStream)
	return ok && stream.end(refusal)
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
