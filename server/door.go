package server

import (
	"context"
	"log/slog"
	"strings"

	"google.golang.org/grpc/tap"

	"securechat/auth"
)

// door sees every call that has a well-formed header list, before grpc-go reads
// a message of it and before the chain, which comes after the request of a unary
// call has been read. It refuses what must not cost that much. It runs on the
// goroutine that reads the connection: what it does holds up that connection and
// no other.
func (s *Server) door(ctx context.Context, info *tap.Info) (context.Context, error) {
	conn, ok := connectionOf(ctx)
	if !ok {
		return nil, s.turnAway(ctx, info, auth.Refusef(auth.Internal, "the connection did not come through the gate"))
	}
	if conn.excess {
		return nil, s.turnAway(ctx, info, auth.Refusef(auth.TooManyConnections, "%q has too many connections", conn.name).After(excessLife))
	}
	if slash := strings.LastIndexByte(info.FullMethodName, '/'); slash < 1 || info.FullMethodName[0] != '/' {
		return nil, s.turnAway(ctx, info, auth.Refusef(auth.MethodDenied, "the path %.200q names no method", info.FullMethodName))
	}
	if s.unary[info.FullMethodName] {
		var cancel context.CancelFunc
		ended := ctx
		ctx, cancel = context.WithTimeout(ctx, s.config.Limits.Unary)
		context.AfterFunc(ended, cancel)
	}
	stream := conn.begin()
	context.AfterFunc(ctx, stream.end)
	return context.WithValue(ctx, streamKey{}, stream), nil
}

// turnAway logs and counts a call that is refused at the door.
func (s *Server) turnAway(ctx context.Context, info *tap.Info, refusal *auth.Refusal) error {
	c := s.begin(ctx, info.FullMethodName)
	s.refused(ctx, c, refusal)
	return refusal.GRPCStatus().Err()
}

// withholding writes a line of a refusal unless its source has been loud.
func (s *Server) withholding(ctx context.Context, c *call, level slog.Level, attributes []any) {
	more, say := s.quiet.may(c.peerHost + c.subject)
	if !say {
		return
	}
	if more > 0 {
		attributes = append(attributes, slog.Int("more", more))
	}
	c.log.Log(ctx, level, "refused", attributes...)
}
