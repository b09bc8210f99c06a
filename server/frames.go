package server

import (
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	"securechat/auth"
)

// grpc-go writes a status of its own to the client as soon as a message cannot
// be read, before an interceptor can put a reason to it. So the codec never
// fails on a stream: it leaves what is wrong with the message beside it, and
// frames refuses in our words.
//
// What grpc-go itself must stop, because reading on would cost memory, is a
// message of more than transportSlack times the limit.
const transportSlack = 4

// frames refuses messages that are too large or cannot be decoded.
func (s *Server) frames() auth.Interceptor {
	limit := s.config.Limits.MessageBytes
	return auth.Interceptor{
		Stream: func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			return handler(srv, &framedStream{ServerStream: stream, frame: frame{limit: limit}})
		},
	}
}

// A frame is what the codec decodes into: the message, or why there is none. One
// refusal is the end of a stream: there is no message after it.
type frame struct {
	message any
	limit   int
	refusal *auth.Refusal
}

type framedStream struct {
	grpc.ServerStream
	frame frame // belongs to the goroutine that receives
}

func (s *framedStream) RecvMsg(m any) error {
	s.frame.message = m
	if err := s.ServerStream.RecvMsg(&s.frame); err != nil {
		return transportRefusal(err)
	}
	if s.frame.refusal != nil {
		return s.frame.refusal
	}
	return nil
}

// transportRefusal puts a reason to what grpc-go refused by itself, for the log
// and the counters: the client has grpc-go's status by then.
func transportRefusal(err error) error {
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	switch status.Code(err) {
	case codes.ResourceExhausted:
		return auth.Refuse(auth.MessageTooLarge, err)
	case codes.Internal, codes.Unimplemented:
		return auth.Refuse(auth.MessageInvalid, err)
	default:
		return err
	}
}

// codec is grpc-go's codec for protobuf, but for frames.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2(proto.Name)} }

func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	frame, ok := v.(*frame)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	if size := data.Len(); size > frame.limit {
		frame.refusal = auth.Refusef(auth.MessageTooLarge, "a message has %d bytes and may have %d", size, frame.limit)
	} else if err := c.CodecV2.Unmarshal(data, frame.message); err != nil {
		frame.refusal = auth.Refuse(auth.MessageInvalid, err)
	}
	return nil
}
