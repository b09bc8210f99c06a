package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"go.opentelemetry.io/otel/trace"

	"securechat/certs"
	"securechat/client"
	"securechat/cmd/chatd/internal/sandbox"
)

const (
	proofText  = "Hello, server!"
	proofLimit = 5 * time.Second
)

// A proof is one message that went all the way.
type proof struct {
	sent, acknowledged string
	traceID            string // empty where spans are turned off
}

// prove sends a message as the sandbox's first user, through the same files and
// the same client as anyone else, and waits for its acknowledgement.
func prove(ctx context.Context, box *sandbox.Sandbox, server string, tracing trace.TracerProvider) (p proof, err error) {
	ctx, cancel := context.WithTimeout(ctx, proofLimit)
	defer cancel()
	user := box.Users()[0]
	source, err := certs.Files(certs.Paths{Certificate: user.Certificate, Key: user.Key, Roots: box.CA()})
	if err != nil {
		return proof{}, err
	}
	defer source.Close()
	conn, err := client.Dial(client.Config{
		Server:       server,
		ServerName:   sandbox.ServerName,
		Certificates: source,
		Token:        client.TokenFile(user.Token),
		Tracing:      tracing,
	})
	if err != nil {
		return proof{}, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	stream, err := conn.Open(ctx)
	if err != nil {
		return proof{}, err
	}
	defer stream.Close()
	return converse(ctx, stream)
}

func converse(ctx context.Context, stream *client.Stream) (proof, error) {
	if err := stream.Send(ctx, proofText); err != nil {
		return proof{}, err
	}
	answer, err := stream.Receive(ctx)
	if err != nil {
		return proof{}, err
	}
	if err := stream.CloseSend(); err != nil {
		return proof{}, err
	}
	if _, err := stream.Receive(ctx); !errors.Is(err, io.EOF) {
		return proof{}, fmt.Errorf("the stream did not end in good order: %w", err)
	}
	return proof{sent: proofText, acknowledged: answer.Text, traceID: answer.TraceID}, nil
}
