package server

import (
	"context"

	middleware "github.com/grpc-ecosystem/go-grpc-middleware/v2"
	"google.golang.org/grpc"

	"securechat/auth"
	chatpb "securechat/proto/chat"
	"securechat/server/room"
)

type memberKey struct{}

// memberFrom returns the membership of a stream that is in a room.
func memberFrom(ctx context.Context) (*room.Member, bool) {
	member, ok := ctx.Value(memberKey{}).(*room.Member)
	return member, ok
}

// enter is the step in which a stream that names a room joins it, so that one
// that cannot is refused and not admitted. The membership ends with the stream.
func (s *Server) enter() auth.Interceptor {
	return auth.Interceptor{
		Stream: func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			if info.FullMethod != chatpb.Chat_ChatStream_FullMethodName {
				return handler(srv, stream)
			}
			ctx := stream.Context()
			id, _ := auth.FromContext(ctx)
			o, inRoom, err := openingOf(ctx, id.User)
			if err != nil {
				return err
			}
			if !inRoom {
				return handler(srv, stream)
			}
			if s.rooms == nil {
				return auth.Refusef(auth.Internal, "a room was authorised on a server that keeps none")
			}
			member, err := s.rooms.join(ctx, o, id.User)
			if err != nil {
				return err
			}
			defer member.Leave()
			ctx = context.WithValue(ctx, memberKey{}, member)
			return handler(srv, &middleware.WrappedServerStream{ServerStream: stream, WrappedContext: ctx})
		},
	}
}

// join waits while the caller has as many streams on their way into rooms as it may.
func (r *rooms) join(ctx context.Context, o opening, user string) (*room.Member, error) {
	turn, err := r.joining.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer turn.done()
	member, err := r.hub.Join(ctx, o.key, user, o.from)
	if err != nil {
		return nil, roomRefusal(err)
	}
	return member, nil
}
