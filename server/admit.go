package server

import (
	"runtime/debug"
	"time"

	"context"

	middlewarerecovery "github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/recovery"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"securechat/auth"
	chatpb "securechat/proto/chat"
)

// admit tells the client that its stream is open, as whom and until when,
// before any message.
func (s *Server) admit() auth.Interceptor {
	return auth.Interceptor{
		Stream: func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			id, _ := auth.FromContext(stream.Context())
			expires, ok := auth.Expires(stream.Context())
			if !ok {
				return auth.Refusef(auth.Internal, "a stream is to be admitted that nobody supervises")
			}
			err := stream.SendHeader(metadata.Pairs(
				chatpb.HeaderUser, chatpb.EscapeUser(id.User),
				chatpb.HeaderExpires, expires.UTC().Format(time.RFC3339),
			))
			if err != nil {
				return err
			}
			if call := callFrom(stream.Context()); call != nil {
				call.admitted()
				s.metrics.live(stream.Context(), 1)
				defer s.metrics.live(context.WithoutCancel(stream.Context()), -1)
			}
			return handler(srv, stream)
		},
	}
}

// recovery turns a panic into INTERNAL. The cause, with the stack, is for the
// log; nothing of it reaches the client.
func recovery() auth.Interceptor {
	handler := middlewarerecovery.WithRecoveryHandlerContext(func(_ context.Context, value any) error {
		return panicRefusal(value)
	})
	return auth.Interceptor{
		Unary:  middlewarerecovery.UnaryServerInterceptor(handler),
		Stream: middlewarerecovery.StreamServerInterceptor(handler),
	}
}

// panicRefusal is called where a panic is recovered, with its value.
func panicRefusal(value any) *auth.Refusal {
	if panicked, ok := value.(*auth.HandlerPanic); ok {
		return auth.Refusef(auth.Internal, "panic: %v\n%s", panicked.Value, panicked.Stack)
	}
	return auth.Refusef(auth.Internal, "panic: %v\n%s", value, debug.Stack())
}
