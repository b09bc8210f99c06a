package auth

import (
	"context"

	"google.golang.org/grpc"
)

// Stamp returns a step that calls set on every message of type M that a client
// sends, with the verified caller, before the handler sees it. Whatever the
// client had put in the field that set writes is gone. Messages of other types
// pass as they are. A call without a verified caller is refused, so the step
// must stand behind a Guard's.
//
// set runs on the goroutine that receives, and must not keep the message.
func Stamp[M any](set func(message M, id Identity)) Interceptor {
	return Interceptor{
		Unary: func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			id, ok := FromContext(ctx)
			if !ok {
				return nil, errUnverified
			}
			if message, ok := req.(M); ok {
				set(message, id)
			}
			return handler(ctx, req)
		},
		Stream: func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			id, ok := FromContext(stream.Context())
			if !ok {
				return errUnverified
			}
			return handler(srv, &stampedStream[M]{ServerStream: stream, id: id, set: set})
		},
	}
}

var errUnverified = Refusef(Internal, "a step that needs a verified caller stands before the one that verifies")

type stampedStream[M any] struct {
	grpc.ServerStream
	id  Identity
	set func(M, Identity)
}

func (s *stampedStream[M]) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	if message, ok := m.(M); ok {
		s.set(message, s.id)
	}
	return nil
}
