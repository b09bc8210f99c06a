package server

import (
	"context"
	"errors"
	"io"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	"securechat/auth"
)

// grpc-go writes a status of its own to the client as soon as a message cannot
// be read, before an interceptor can put a reason to it, and reads the request
// of a unary call before any interceptor runs. So the codec never fails: it
// leaves what is wrong with a message beside it, and frames refuses in our words.
//
// What grpc-go itself must stop, because reading on would cost memory, is a
// message of more than the limit and transportSlack.
const transportSlack = 64 << 10

// frames refuses messages that are too large or cannot be decoded.
func (s *Server) frames() auth.Interceptor {
	return auth.Interceptor{
		Unary: func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			if refusal, ok := s.codec.refused.LoadAndDelete(req); ok {
				return nil, refusal.(*auth.Refusal)
			}
			return handler(ctx, req)
		},
		Stream: func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			return handler(srv, &framedStream{ServerStream: stream})
		},
	}
}

// uncompressed refuses calls whose messages are compressed. grpc-go accepts
// every compressor that is linked into a program, for whatever purpose.
func uncompressed() auth.Interceptor {
	return auth.Check(func(ctx context.Context, _ string) (context.Context, error) {
		stream, ok := grpc.ServerTransportStreamFromContext(ctx).(interface{ RecvCompress() string })
		if !ok {
			return nil, auth.Refusef(auth.Internal, "grpc-go does not say how messages are compressed")
		}
		if name := stream.RecvCompress(); name != "" && name != encoding.Identity {
			return nil, auth.Refusef(auth.MessageCompressed, "grpc-encoding is %.40q", name)
		}
		return ctx, nil
	}).Interceptor()
}

// A frame is what the codec decodes into: the message, or why there is none. One
// refusal is the end of a stream: there is no message after it.
type frame struct {
	message any
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

// codec is grpc-go's codec for protobuf, but that it passes on what is encoded
// already and that decoding does not fail: for a
// frame what is wrong stands in the frame, for the request of a unary call in
// refused, by the request.
type codec struct {
	encoding.CodecV2
	limit   int
	refused sync.Map // request -> *auth.Refusal; taken out by frames
}

func newCodec(limit int) *codec {
	return &codec{CodecV2: encoding.GetCodecV2(proto.Name), limit: limit}
}

// encoded is a message that has been encoded once, for all who get it.
type encoded struct{ wire []byte }

// Marshal hands on what is encoded already, without a copy: the transport reads it
// when flow control lets it, and nobody writes to it.
func (c *codec) Marshal(v any) (mem.BufferSlice, error) {
	if message, ok := v.(*encoded); ok {
		return mem.BufferSlice{mem.SliceBuffer(message.wire)}, nil
	}
	return c.CodecV2.Marshal(v)
}

func (c *codec) Unmarshal(data mem.BufferSlice, v any) error {
	if frame, ok := v.(*frame); ok {
		if refusal := c.decode(data, frame.message); refusal != nil {
			frame.refusal = refusal
		}
		return nil
	}
	if refusal := c.decode(data, v); refusal != nil {
		c.refused.Store(v, refusal)
	}
	return nil
}

func (c *codec) decode(data mem.BufferSlice, message any) *auth.Refusal {
	if size := data.Len(); size > c.limit {
		return auth.Refusef(auth.MessageTooLarge, "a message has %d bytes and may have %d", size, c.limit)
	}
	if err := c.CodecV2.Unmarshal(data, message); err != nil {
		return auth.Refuse(auth.MessageInvalid, err)
	}
	return nil
}
