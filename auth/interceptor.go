package auth

import (
	"context"

	middleware "github.com/grpc-ecosystem/go-grpc-middleware/v2"
	"google.golang.org/grpc"
)

// An Interceptor is one step that every call passes, for both kinds of call.
type Interceptor struct {
	Unary  grpc.UnaryServerInterceptor
	Stream grpc.StreamServerInterceptor
}

// Chain returns the server options for steps, outermost first.
func Chain(steps ...Interceptor) []grpc.ServerOption {
	unary := make([]grpc.UnaryServerInterceptor, 0, len(steps))
	stream := make([]grpc.StreamServerInterceptor, 0, len(steps))
	for _, step := range steps {
		if step.Unary != nil {
			unary = append(unary, step.Unary)
		}
		if step.Stream != nil {
			stream = append(stream, step.Stream)
		}
	}
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(unary...),
		grpc.ChainStreamInterceptor(stream...),
	}
}

// A Check decides on one call before its handler runs, given the method's full
// name. An error ends the call; otherwise the returned context goes on.
type Check func(ctx context.Context, method string) (context.Context, error)

// Interceptor makes a step of the check, for unary calls and streams alike.
func (check Check) Interceptor() Interceptor {
	return Interceptor{
		Unary: func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			ctx, err := check(ctx, info.FullMethod)
			if err != nil {
				return nil, err
			}
			return handler(ctx, req)
		},
		Stream: func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			ctx, err := check(stream.Context(), info.FullMethod)
			if err != nil {
				return err
			}
			return handler(srv, &middleware.WrappedServerStream{ServerStream: stream, WrappedContext: ctx})
		},
	}
}
