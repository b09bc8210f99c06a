package main

import (
	"context"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"

	"securechat/auth"
	"securechat/certs"
	chatpb "securechat/proto/chat"
	"securechat/server/room"
	"securechat/server/room/roomtest"
)

// A hall is the least service on a hub, with mutual TLS and tokens but nothing
// else, to compare ways of sending one message to many.
type hall struct {
	chatpb.UnimplementedChatServer
	hub  *room.Hub
	send func(grpc.ServerStream, *room.Event) error
}

// sendingBy makes a hall whose members are sent messages in some way.
func sendingBy(way func() func(grpc.ServerStream, *room.Event) error) func(*town, settings) (*venue, error) {
	return func(t *town, _ settings) (*venue, error) {
		guard, err := auth.New(auth.Config{
			Certificates: t.server, Tokens: t.verifier, Policy: auth.Policy{chatpb.Chat_ChatStream_FullMethodName: auth.Rule{}},
		})
		if err != nil {
			return nil, err
		}
		h := &hall{hub: room.New(room.Config{Log: roomtest.NewMemory()}), send: way()}
		srv := grpc.NewServer(append(guard.ServerOptions(),
			grpc.Creds(certs.ServerCredentials(t.server)), grpc.ForceServerCodecV2(frameCodec{encoding.GetCodecV2(proto.Name)}),
			grpc.StaticStreamWindowSize(64<<10), grpc.StaticConnWindowSize(1<<20),
		)...)
		chatpb.RegisterChatServer(srv, h)
		return serve(srv.Serve, func() { srv.Stop(); guard.Wait(); _ = h.hub.Close(context.Background()) })
	}
}

func (h *hall) ChatStream(stream chatpb.Chat_ChatStreamServer) error {
	id, _ := auth.FromContext(stream.Context())
	member, err := h.hub.Join(stream.Context(), roomName, id.User, room.Position{})
	if err != nil {
		return err
	}
	defer member.Leave()
	var delivering sync.WaitGroup
	defer delivering.Wait()
	delivering.Go(func() { h.deliver(stream, member) })
	for {
		m, err := stream.Recv()
		if err != nil {
			member.Leave()
			return err
		}
		if err := member.Post(stream.Context(), room.Posting{Text: m.Message, ID: m.Id}); err != nil {
			return err
		}
	}
}

func (h *hall) deliver(stream chatpb.Chat_ChatStreamServer, member *room.Member) {
	events := make([]room.Event, 8)
	for {
		n, err := member.Next(stream.Context(), events)
		if err != nil {
			return
		}
		for i := range events[:n] {
			e := &events[i]
			if e.Kind == chatpb.Kind_MESSAGE {
				err = h.send(stream, e)
			} else {
				err = stream.Send(&chatpb.ChatMessage{User: chatpb.ServerUser, Kind: e.Kind})
			}
			if err != nil {
				return
			}
		}
	}
}

// frame is an encoded message; frameCodec hands it on as it is.
type (
	frame      []byte
	frameCodec struct{ encoding.CodecV2 }
)

func (c frameCodec) Marshal(v any) (mem.BufferSlice, error) {
	if f, ok := v.(frame); ok {
		return mem.BufferSlice{mem.SliceBuffer(f)}, nil
	}
	return c.CodecV2.Marshal(v)
}

// sharedFrame sends what the hub has encoded once.
func sharedFrame() func(grpc.ServerStream, *room.Event) error {
	return func(stream grpc.ServerStream, e *room.Event) error { return stream.SendMsg(frame(e.Wire)) }
}

// encodedAnew encodes the message for each member.
func encodedAnew() func(grpc.ServerStream, *room.Event) error {
	return func(stream grpc.ServerStream, e *room.Event) error { return stream.SendMsg(messageOf(e)) }
}

func messageOf(e *room.Event) *chatpb.ChatMessage {
	return &chatpb.ChatMessage{
		User: e.Entry.User, Message: e.Entry.Text, Timestamp: chatpb.FormatTimestamp(e.Entry.Time), Id: e.Entry.ID, Sequence: e.Entry.Sequence,
	}
}

// preparedOnce has grpc-go prepare the message, once: the first member to come does
// it for all.
func preparedOnce() func(grpc.ServerStream, *room.Event) error {
	type prepared struct {
		once    sync.Once
		message grpc.PreparedMsg
		err     error
	}
	const kept = 1024 // more than are on their way
	var mu sync.Mutex
	messages := make(map[uint64]*prepared, kept)
	return func(stream grpc.ServerStream, e *room.Event) error {
		mu.Lock()
		p := messages[e.Entry.Sequence]
		if p == nil {
			p = &prepared{}
			messages[e.Entry.Sequence] = p
			delete(messages, e.Entry.Sequence-kept)
		}
		mu.Unlock()
		p.once.Do(func() { p.err = p.message.Encode(stream, messageOf(e)) })
		if p.err != nil {
			return p.err
		}
		return stream.SendMsg(&p.message)
	}
}
