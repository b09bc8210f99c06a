package server_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"securechat/auth"
	"securechat/auth/authtest"
	chatpb "securechat/proto/chat"
	"securechat/server"
)

// A journal is the server's log, line by line.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(j, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// lines returns the lines with this message.
func (j *journal) lines(t testing.TB, message string) []map[string]any {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	var found []map[string]any
	decoder := json.NewDecoder(bytes.NewReader(j.text.Bytes()))
	for decoder.More() {
		var line map[string]any
		if err := decoder.Decode(&line); err != nil {
			t.Fatal(err)
		}
		if line["msg"] == message {
			found = append(found, line)
		}
	}
	return found
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// wantReason asserts a refusal's code and reason.
func wantReason(t testing.TB, err error, code codes.Code, reason auth.Reason) {
	t.Helper()
	if got, _ := auth.ReasonOf(err); status.Code(err) != code || got != reason {
		t.Fatalf("got %v (%s), want %s with %q", err, got, code, reason)
	}
}

// wantAlive asserts that a stream still echoes.
func wantAlive(t testing.TB, stream chatpb.Chat_ChatStreamClient) {
	t.Helper()
	if err := stream.Send(&chatpb.ChatMessage{Message: "still there?"}); err != nil {
		t.Fatal(err)
	}
	if ack, err := stream.Recv(); err != nil || ack.Message != "Acknowledged: still there?" {
		t.Fatalf("a bystander's stream: %v, %v", ack, err)
	}
}

// raw sends bytes as messages, whatever they are.
type raw struct{}

func (raw) Name() string { return "proto" }
func (raw) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}
func (raw) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

var _ encoding.CodecV2 = raw{}

// field encodes one length-delimited field of a message.
func field(number protowire.Number, value string) []byte {
	return protowire.AppendString(protowire.AppendTag(nil, number, protowire.BytesType), value)
}

func TestMessagesThatAreRefused(t *testing.T) {
	realm := authtest.NewRealm(t)
	log := &journal{}
	address := start(t, realm, server.Config{Log: log.logger()})
	bystander := open(t, realm.User("bob"), address)
	conn := realm.User("alice").Dial(address)
	marker := "the-body-of-the-message"
	for _, test := range []struct {
		name    string
		message []byte
		code    codes.Code
		reason  auth.Reason // empty: grpc-go's own status, which has none
	}{
		{"one byte more than 256 KiB", field(2, marker+strings.Repeat("x", 256<<10-4-len(marker)+1)), codes.ResourceExhausted, auth.MessageTooLarge},
		{"more than the transport reads", field(2, marker+strings.Repeat("x", 2<<20)), codes.ResourceExhausted, ""},
		{"invalid UTF-8", field(2, marker+"\xff\xfe"), codes.InvalidArgument, auth.MessageInvalid},
		{"no protobuf", append(field(2, marker), 0xff, 0xff, 0xff), codes.InvalidArgument, auth.MessageInvalid},
		{"a length beyond the end", []byte{2<<3 | 2, 200, 'x'}, codes.InvalidArgument, auth.MessageInvalid},
		{"an id of 65 bytes", append(field(2, marker), field(4, strings.Repeat("i", 65))...), codes.InvalidArgument, auth.MessageInvalid},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := len(log.lines(t, "ended"))
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			stream, err := conn.NewStream(ctx, &chatpb.Chat_ServiceDesc.Streams[0], chatpb.Chat_ChatStream_FullMethodName, grpc.ForceCodecV2(raw{}))
			if err != nil {
				t.Fatal(err)
			}
			if err := stream.SendMsg(test.message); err != nil && !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			var answer []byte
			wantReason(t, stream.RecvMsg(&answer), test.code, test.reason)
			wantAlive(t, bystander)
			waitFor(t, "one line that the stream ended", func() bool { return len(log.lines(t, "ended")) == before+1 })
		})
	}
	if strings.Contains(log.String(), marker) {
		t.Error("the log has the body of a message")
	}
	// The largest that is accepted, and an id of 64 bytes.
	stream := open(t, realm.User("alice"), address)
	largest := &chatpb.ChatMessage{Id: strings.Repeat("i", 64)}
	largest.Message = strings.Repeat("x", 256<<10-4-proto.Size(largest))
	if size := proto.Size(largest); size != 256<<10 {
		t.Fatalf("the largest message has %d bytes", size)
	}
	if err := stream.Send(largest); err != nil {
		t.Fatal(err)
	}
	if ack, err := stream.Recv(); err != nil || ack.Id != largest.Id {
		t.Errorf("a message of 256 KiB: %v", err)
	}
}

// waitFor waits for what another goroutine is about to do.
func waitFor(t testing.TB, what string, done func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("no %s", what)
		}
	}
}

// A message frame that ends in its middle ends its stream and no other.
func TestTruncatedFrame(t *testing.T) {
	realm := authtest.NewRealm(t)
	log := &journal{}
	address := start(t, realm, server.Config{Log: log.logger()})
	bystander := open(t, realm.User("bob"), address)
	alice := realm.User("alice")
	transport := &http.Transport{TLSClientConfig: clientTLS(alice), ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	body := append([]byte{0, 0, 0, 0, 100}, "only this much"...)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+address+chatpb.Chat_ChatStream_FullMethodName, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/grpc")
	request.Header.Set("Authorization", "Bearer "+alice.Token)
	request.Header.Set("TE", "trailers")
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		t.Fatal(err)
	}
	if got := response.Trailer.Get("grpc-status"); got != "13" {
		t.Errorf("grpc-status %q, want 13 (INTERNAL, of grpc-go)", got)
	}
	waitFor(t, "line with MESSAGE_INVALID", func() bool {
		lines := log.lines(t, "ended")
		return len(lines) == 1 && lines[0]["reason"] == "MESSAGE_INVALID"
	})
	wantAlive(t, bystander)
}

func clientTLS(user *authtest.User) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: authtest.ServerName, NextProtos: []string{"h2"},
		RootCAs: user.Certificates.Pool(), Certificates: []tls.Certificate{*user.Certificates.Certificate()},
	}
}

// Metadata beyond the limit is refused by a client that knows the server's
// settings, and by the server's transport where the client sends it anyway.
func TestHeaderListTooLarge(t *testing.T) {
	realm := authtest.NewRealm(t)
	address := start(t, realm, server.Config{})
	bystander := open(t, realm.User("bob"), address)
	large := strings.Repeat("x", 17<<10)
	t.Run("a client that keeps to the settings", func(t *testing.T) {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "x-large", large)
		stream, err := chatpb.NewChatClient(realm.User("alice").Dial(address)).ChatStream(ctx)
		if err == nil {
			_, err = stream.Recv()
		}
		if status.Code(err) != codes.Internal || !strings.Contains(err.Error(), "header list size") {
			t.Errorf("got %v, want INTERNAL: header list size", err)
		}
	})
	t.Run("a client that does not", func(t *testing.T) {
		framer := abuse(t, address, realm.User("alice"))
		var block bytes.Buffer
		encoder := hpack.NewEncoder(&block)
		for _, field := range [][2]string{
			{":method", "POST"}, {":scheme", "https"}, {":path", chatpb.Chat_ChatStream_FullMethodName},
			{":authority", "localhost"}, {"content-type", "application/grpc"}, {"te", "trailers"},
			{"x-1", large[:6<<10]}, {"x-2", large[:6<<10]}, {"x-3", large[:6<<10]},
		} {
			if err := encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}); err != nil {
				t.Fatal(err)
			}
		}
		first, rest := block.Bytes()[:8<<10], block.Bytes()[8<<10:]
		if err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: first}); err != nil {
			t.Fatal(err)
		}
		if err := framer.WriteContinuation(1, true, rest); err != nil {
			t.Fatal(err)
		}
		for {
			frame, err := framer.ReadFrame()
			if err != nil {
				t.Fatal(err)
			}
			if reset, ok := frame.(*http2.RSTStreamFrame); ok {
				if reset.StreamID != 1 || reset.ErrCode != http2.ErrCodeFrameSize {
					t.Errorf("got %v, want stream 1 reset with FRAME_SIZE_ERROR", reset)
				}
				return
			}
		}
	})
	wantAlive(t, bystander)
}

func TestCompressedMessagesAreRefused(t *testing.T) {
	realm := authtest.NewRealm(t)
	conn := realm.User("alice").Dial(start(t, realm, server.Config{}))
	stream, err := chatpb.NewChatClient(conn).ChatStream(t.Context(), grpc.UseCompressor(gzip.Name))
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&chatpb.ChatMessage{Message: strings.Repeat("x", 1<<10)}); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	_, err = stream.Recv()
	wantReason(t, err, codes.Unimplemented, auth.MessageCompressed)
	err = conn.Invoke(t.Context(), check, &chatpb.ChatMessage{}, &chatpb.ChatMessage{}, grpc.UseCompressor(gzip.Name))
	wantReason(t, err, codes.Unimplemented, auth.MessageCompressed)
}

func TestUnknownMethodsAreRefusedLoggedAndCounted(t *testing.T) {
	realm := authtest.NewRealm(t)
	log := &journal{}
	conn := realm.User("alice").Dial(start(t, realm, server.Config{Log: log.logger()}))
	for _, method := range []string{
		"/chat.Chat/ChatStream", // the method's name is chatStream
		"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
		"/grpc.channelz.v1.Channelz/GetServers",
	} {
		wantReason(t, conn.Invoke(t.Context(), method, &chatpb.ChatMessage{}, &chatpb.ChatMessage{}), codes.PermissionDenied, auth.MethodDenied)
	}
	waitFor(t, "one line for each refusal", func() bool { return len(log.lines(t, "refused")) == 3 })
	for _, line := range log.lines(t, "refused") {
		if line["reason"] != "METHOD_DENIED" || line["user"] != "alice" || line["peer"] == "" || line["certificate"] != "CN=alice" {
			t.Errorf("the line %v should name reason, user, peer and certificate", line)
		}
	}
}
