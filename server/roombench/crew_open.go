package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	chatpb "securechat/proto/chat"
	"securechat/server/room"
)

const (
	roomName = "ops"
	// opening is how many streams or connections are opened at a time.
	opening = 8
)

// each calls do for 0 to n-1, several at a time, and returns the first errors.
func each(n int, do func(i int) error) error {
	var all sync.WaitGroup
	failed := make(chan error, opening)
	for worker := range opening {
		all.Go(func() {
			for i := worker; i < n; i += opening {
				if err := do(i); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	all.Wait()
	close(failed)
	var err error
	for e := range failed {
		err = errors.Join(err, e)
	}
	return err
}

// openChat opens the members' streams, and one to speak on.
func openChat(ctx context.Context, j job, a *audience) (speak func() error, end func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	conns := make([]*grpc.ClientConn, j.Connections+1) // the last is the speaker's
	var listening sync.WaitGroup
	end = func() {
		cancel()
		listening.Wait()
		for _, conn := range conns {
			if conn != nil {
				_ = conn.Close()
			}
		}
	}
	for i := range conns {
		if conns[i], err = j.Users[i%len(j.Users)].dial(j.Address, j.Roots); err != nil {
			return nil, end, err
		}
	}
	err = each(j.Members, func(i int) error {
		name := roomName
		if j.Apart {
			name = fmt.Sprintf("%s-%d", roomName, i)
		}
		stream, err := enter(ctx, conns[i%j.Connections], name)
		if err != nil {
			return err
		}
		listening.Go(func() { listen(ctx, stream, a) })
		return nil
	})
	if err != nil {
		return nil, end, err
	}
	stream, err := enter(ctx, conns[j.Connections], roomName)
	if err != nil {
		return nil, end, err
	}
	listening.Go(func() { listen(ctx, stream, a) }) // to acknowledgements alone
	message := &chatpb.ChatMessage{Message: text}
	return func() error { return stream.Send(message) }, end, nil
}

// enter opens a stream in a room and waits until it is live.
func enter(ctx context.Context, conn *grpc.ClientConn, name string) (chatpb.Chat_ChatStreamClient, error) {
	stream, err := openRoom(ctx, conn, name)
	if err != nil {
		return nil, err
	}
	for {
		m, err := stream.Recv()
		if err != nil {
			return nil, err
		}
		if m.Kind == chatpb.Kind_LIVE {
			return stream, nil
		}
	}
}

// openRoom opens a stream in a room, with further metadata.
func openRoom(ctx context.Context, conn *grpc.ClientConn, name string, pairs ...string) (chatpb.Chat_ChatStreamClient, error) {
	ctx = metadata.AppendToOutgoingContext(ctx, append([]string{chatpb.MetadataRoom, name}, pairs...)...)
	return chatpb.NewChatClient(conn).ChatStream(ctx)
}

func listen(ctx context.Context, stream chatpb.Chat_ChatStreamClient, a *audience) {
	l := listener{audience: a}
	var m chatpb.ChatMessage
	for {
		if err := stream.RecvMsg(&m); err != nil {
			if ctx.Err() == nil {
				a.fail(err)
			}
			return
		}
		if m.Kind == chatpb.Kind_MESSAGE {
			l.hear()
		}
	}
}

// openNATS subscribes the members, and connects one to speak.
func openNATS(_ context.Context, j job, a *audience) (speak func() error, end func(), err error) {
	conns := make([]*nats.Conn, j.Connections+1)
	end = func() {
		for _, conn := range conns {
			if conn != nil {
				conn.Close()
			}
		}
	}
	err = each(len(conns), func(i int) error {
		config, err := j.Users[i%len(j.Users)].tls(j.Roots)
		if err != nil {
			return err
		}
		conns[i], err = nats.Connect(j.Address, nats.Secure(config), nats.NoReconnect(), nats.ErrorHandler(
			func(_ *nats.Conn, _ *nats.Subscription, err error) { a.fail(err) }))
		return err
	})
	if err != nil {
		return nil, end, err
	}
	for i := range j.Members {
		l := &listener{audience: a}
		if _, err := conns[i%j.Connections].Subscribe(roomName, func(*nats.Msg) { l.hear() }); err != nil {
			return nil, end, err
		}
	}
	for _, conn := range conns { // the server has all subscriptions then
		if err := conn.Flush(); err != nil {
			return nil, end, err
		}
	}
	// As much as a member of a room is sent of a message.
	payload, err := room.AppendMessage(nil, &room.Entry{Sequence: 1 << 20, User: j.Users[0].Name, Text: text, Time: time.Now()})
	speaker := conns[j.Connections]
	return func() error { return speaker.Publish(roomName, payload) }, end, err
}
