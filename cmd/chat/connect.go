package main

import (
	"context"
	"io"
	"log/slog"
	"time"

	"securechat/certs"
	"securechat/client"
	"securechat/cmd/internal/cli"
	"securechat/cmd/internal/contexts"
	"securechat/cmd/internal/telemetry"
)

// flushTime is how long the last spans may take to leave.
const flushTime = 2 * time.Second

// A session is a connection with what it is made of, or as much of that as there
// is. Close ends it.
type session struct {
	conn      *client.Conn
	source    *certs.FileSource
	telemetry *telemetry.Telemetry
}

// connect prepares the session. The events are those of its connection, and may
// be nil.
func connect(ctx context.Context, c contexts.Context, notices io.Writer, events func(client.Event)) (*session, error) {
	log := slog.New(slog.NewTextHandler(notices, &slog.HandlerOptions{Level: slog.LevelWarn}))
	tel, err := telemetry.Setup(ctx, telemetry.Options{Service: "chat", Version: cli.Version(), Log: log})
	if err != nil {
		return nil, err
	}
	s := &session{telemetry: tel}
	s.source, err = certs.Files(certs.Paths{Certificate: c.Cert, Key: c.Key, Roots: c.CA}, certs.WithLogger(tel.Log))
	if err != nil {
		s.Close()
		return nil, err
	}
	s.conn, err = client.Dial(client.Config{
		Server:       c.Server,
		ServerName:   c.ServerName,
		Certificates: s.source,
		Token:        client.TokenFile(c.TokenFile),
		Tracing:      tel.Tracing,
		Events:       events,
	})
	if err != nil {
		s.Close()
		return nil, cli.Exit(cli.Usage, err)
	}
	return s, nil
}

// open opens a stream within the time.
func (s *session) open(ctx context.Context, timeout time.Duration) (*client.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	stream, err := s.conn.Open(ctx)
	return stream, late(err)
}

// Close lets the spans leave and releases everything. What cannot be sent by
// then is lost, which the telemetry has logged.
func (s *session) Close() {
	if s.conn != nil {
		_ = s.conn.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), flushTime)
	defer cancel()
	_ = s.telemetry.Shutdown(ctx)
	if s.source != nil {
		_ = s.source.Close()
	}
}
