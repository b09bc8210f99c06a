package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"securechat/auth/authtest"
	chatpb "securechat/proto/chat"
)

// What is refused before it is sent leaves the stream as it was.
func TestSendRefused(t *testing.T) {
	realm := authtest.NewRealm(t)
	stream := open(t, dial(t, realm.User("alice"), startServer(t, realm)))
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	tests := []struct {
		name    string
		ctx     context.Context
		text    string
		options []SendOption
		words   string
	}{
		{"text is not UTF-8", patient(t), "caf\xe9", nil, "not valid UTF-8"},
		{"id is too long", patient(t), "x", []SendOption{WithID(strings.Repeat("i", 65))}, "65 bytes"},
		{"id is not UTF-8", patient(t), "x", []SendOption{WithID("\xff")}, "valid UTF-8"},
		{"context has ended", ended, "x", nil, context.Canceled.Error()},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if err := stream.Send(test.ctx, test.text, test.options...); err == nil || !strings.Contains(err.Error(), test.words) {
				t.Errorf("got %v, want %q in it", err, test.words)
			}
		})
	}
	if _, err := stream.Receive(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("Receive: got %v, want context.Canceled", err)
	}
	wantEcho(t, stream, "still here")

	must(t, stream.CloseSend())
	if err := stream.Send(patient(t), "late"); err == nil || !strings.Contains(err.Error(), "after CloseSend") {
		t.Errorf("got %v, want words on CloseSend", err)
	}
	if _, err := stream.Receive(patient(t)); err != io.EOF {
		t.Errorf("got %v, want io.EOF", err)
	}
}

func wantEcho(t *testing.T, stream *Stream, text string) {
	t.Helper()
	before := time.Now().Add(-time.Second)
	must(t, stream.Send(patient(t), text, WithID("id-1")))
	m, err := stream.Receive(patient(t))
	must(t, err)
	if m.User != "Server" || m.Text != "Acknowledged: "+text || m.Kind != KindAcknowledgement || m.ID != "id-1" || m.Sequence != 0 || m.TraceID != "" {
		t.Errorf("got %+v", m)
	}
	if m.Time.Before(before) || m.Time.After(time.Now().Add(time.Second)) {
		t.Errorf("got time %v", m.Time)
	}
	if _, err := time.Parse("2006-01-02T15:04:05.000Z", m.Timestamp()); err != nil {
		t.Errorf("got timestamp %q", m.Timestamp())
	}
}

// What an option says of one message it says of no other.
func TestSendOptionIsOfOneMessage(t *testing.T) {
	realm := authtest.NewRealm(t)
	got := make(chan *chatpb.ChatMessage, 2)
	stream := open(t, dial(t, realm.User("alice"), startOdd(t, realm, func(call chatpb.Chat_ChatStreamServer) error {
		if err := call.SendHeader(nil); err != nil {
			return err
		}
		for range cap(got) {
			m, err := call.Recv()
			if err != nil {
				return err
			}
			got <- m
		}
		return nil
	})))
	must(t, stream.Send(patient(t), "first", func(m *chatpb.ChatMessage) {
		m.User, m.Id, m.Sequence, m.Kind, m.Traceparent = "alice", "id", 9, KindTyping, "trace"
	}))
	must(t, stream.Send(patient(t), "second"))
	if m := <-got; m.User != "alice" || m.Id != "id" || m.Sequence != 9 || m.Kind != KindTyping || m.Traceparent != "trace" {
		t.Errorf("got %v, want what the option says", m)
	}
	m := <-got
	m.Timestamp = ""
	if want := (&chatpb.ChatMessage{Message: "second"}); !proto.Equal(m, want) {
		t.Errorf("got %v, want %v", m, want)
	}
}

// Contexts that end between calls cost the stream nothing, whether each call
// brings its own or all share one.
func TestCancelBetween(t *testing.T) {
	realm := authtest.NewRealm(t)
	stream := open(t, dial(t, realm.User("alice"), startServer(t, realm)))
	type key struct{}
	for i := range 20 {
		shared, cancel := context.WithCancel(context.Background())
		for j := range 3 {
			ctx := context.WithValue(shared, key{}, j)
			text := fmt.Sprint(i, j)
			must(t, stream.Send(ctx, text))
			m, err := stream.Receive(ctx)
			must(t, err)
			if m.Text != "Acknowledged: "+text {
				t.Fatalf("got %q", m.Text)
			}
		}
		cancel()
	}
	wantEcho(t, stream, "after all")
}

// Ten thousand messages come back in order, and the half-close waits for all.
func TestPipelined(t *testing.T) {
	realm := authtest.NewRealm(t)
	stream := open(t, dial(t, realm.User("alice"), startServer(t, realm)))
	const count = 10_000
	ctx := patient(t)
	sent := make(chan error, 1)
	go func() {
		for i := range count {
			if err := stream.Send(ctx, fmt.Sprint(i), WithID(fmt.Sprint(i))); err != nil {
				sent <- err
				return
			}
		}
		sent <- stream.CloseSend()
	}()
	next := 0
	for m, err := range stream.Messages(ctx) {
		must(t, err)
		if m.Text != fmt.Sprint("Acknowledged: ", next) || m.ID != fmt.Sprint(next) {
			t.Fatalf("got %q (%q) at place %d", m.Text, m.ID, next)
		}
		next++
	}
	must(t, <-sent)
	if next != count {
		t.Errorf("got %d acknowledgements of %d", next, count)
	}
}

// Breaking off leaves the stream open.
func TestMessagesBreak(t *testing.T) {
	realm := authtest.NewRealm(t)
	stream := open(t, dial(t, realm.User("alice"), startServer(t, realm)))
	ctx := patient(t)
	must(t, stream.Send(ctx, ""))
	for m, err := range stream.Messages(ctx) {
		must(t, err)
		if m.Text != "Acknowledged: " {
			t.Errorf("an empty text: got %q", m.Text)
		}
		break
	}
	wantEcho(t, stream, "on")
}
