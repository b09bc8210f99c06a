package client

import (
	"fmt"

	"google.golang.org/grpc"

	authpb "securechat/proto/auth/v1"
	chatpb "securechat/proto/chat"
)

// A line is a gRPC channel to the server: one connection at a time, and another
// where that is lost.
type line struct {
	link    *link
	grpc    *grpc.ClientConn
	chat    chatpb.ChatClient
	session authpb.SessionClient

	pace pace // of the keeper's goroutine
}

func newLine(cfg Config, server string) (*line, error) {
	l := &line{link: &link{server: server, log: cfg.Log}}
	var err error
	// passthrough leaves names to the dialer: grpc-go's own resolver would look
	// up TXT records, and an own dialer uses no proxy of the environment.
	l.grpc, err = grpc.NewClient("passthrough:///"+server, transport(cfg, l.link)...)
	if err != nil {
		return nil, fmt.Errorf("client: %s: %w", server, err)
	}
	l.chat, l.session = chatpb.NewChatClient(l.grpc), authpb.NewSessionClient(l.grpc)
	return l, nil
}
