package server_test

import (
	"crypto/tls"
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"securechat/auth"
	"securechat/auth/authtest"
	chatpb "securechat/proto/chat"
	"securechat/server"
)

func TestAClientThatCrumblesItsMessages(t *testing.T) {
	realm := authtest.NewRealm(t)
	address := start(t, realm, server.Config{})
	bystander := open(t, realm.User("bob"), address)
	c := abuse(t, address, realm.User("alice"))
	stream := c.open(check, "")
	crumbs := message(make([]byte, 4000))
	for i := range crumbs {
		if err := c.WriteData(stream, false, crumbs[i:i+1]); err != nil {
			break // closed
		}
	}
	c.closed()
	wantAlive(t, bystander)
}

// A client whose messages end just past a frame is an honest one.
func TestMessagesThatEndJustPastAFrame(t *testing.T) {
	realm := authtest.NewRealm(t)
	stream := open(t, realm.User("alice"), start(t, realm, server.Config{}))
	text := strings.Repeat("x", 16378) // 16385 bytes on the wire
	for range 1200 {
		if err := stream.Send(&chatpb.ChatMessage{Message: text}); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
	}
}

// A unary call that never ends its request ends all the same.
func TestAUnaryCallThatDoesNotEnd(t *testing.T) {
	realm := authtest.NewRealm(t)
	c := abuse(t, start(t, realm, server.Config{Limits: server.Limits{Unary: 200 * time.Millisecond}}), realm.User("prober"))
	stream := c.open(check, "")
	if err := c.WriteData(stream, false, message(make([]byte, 100))[:50]); err != nil {
		t.Fatal(err)
	}
	if err := c.conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for {
		frame, err := c.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		h := frame.Header()
		if h.StreamID == stream && (h.Type == http2.FrameRSTStream || h.Flags.Has(http2.FlagHeadersEndStream)) {
			return
		}
	}
}

// Unary requests are refused in our words too, logged and counted.
func TestUnaryRequestsThatAreRefused(t *testing.T) {
	realm := authtest.NewRealm(t)
	log := &journal{}
	prober := realm.User("prober")
	prober.Token = ""
	conn := prober.Dial(start(t, realm, server.Config{Log: log.logger()}))
	for i, test := range []struct {
		request []byte
		code    codes.Code
		reason  auth.Reason
	}{
		{[]byte{0xff, 0xff}, codes.InvalidArgument, auth.MessageInvalid},
		{field(1, "\xff"), codes.InvalidArgument, auth.MessageInvalid},
		{field(1, strings.Repeat("x", 256<<10)), codes.ResourceExhausted, auth.MessageTooLarge},
	} {
		var answer []byte
		err := conn.Invoke(t.Context(), check, test.request, &answer, grpc.ForceCodecV2(raw{}))
		wantReason(t, err, test.code, test.reason)
		waitFor(t, "line of the refusal", func() bool { return len(log.lines(t, "refused")) == i+1 })
	}
	if _, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil {
		t.Errorf("a request in good order: %v", err)
	}
}

func TestPathsThatNameNoMethod(t *testing.T) {
	realm := authtest.NewRealm(t)
	log := &journal{}
	conn := realm.User("alice").Dial(start(t, realm, server.Config{Log: log.logger()}))
	for i, path := range []string{"/x", "chat.Chat", "/"} {
		err := conn.Invoke(t.Context(), path, &chatpb.ChatMessage{}, &chatpb.ChatMessage{})
		wantReason(t, err, codes.PermissionDenied, auth.MethodDenied)
		waitFor(t, "line of the refusal", func() bool { return len(log.lines(t, "refused")) == i+1 })
	}
}

// No peer chooses how long a line of the log is.
func TestLinesAreBounded(t *testing.T) {
	realm := authtest.NewRealm(t)
	log := &journal{}
	address := start(t, realm, server.Config{Log: log.logger()})
	config := clientTLS(realm.User("alice"))
	for range 200 {
		config.NextProtos = append(config.NextProtos, strings.Repeat("\x01", 250))
	}
	config.NextProtos = config.NextProtos[1:] // without h2
	if conn, err := tls.Dial("tcp", address, config); err == nil {
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	}
	waitFor(t, "line of the refusal", func() bool { return len(log.lines(t, "refused")) == 1 })
	if n := len(log.String()); n > 2000 {
		t.Errorf("the line has %d bytes", n)
	}
}

// A client that goes away before it is admitted is no failure of the server's.
func TestAClientThatGoesAwayRaisesNoAlarm(t *testing.T) {
	realm := authtest.NewRealm(t)
	log := &journal{}
	address := start(t, realm, server.Config{Log: log.logger()})
	alice := realm.User("alice")
	for range 30 {
		c := abuse(t, address, alice)
		for range 20 {
			c.open(chatpb.Chat_ChatStream_FullMethodName, alice.Token)
		}
		_ = c.conn.Close()
	}
	wantAlive(t, open(t, realm.User("bob"), address))
	if strings.Contains(log.String(), `"level":"ERROR"`) {
		t.Errorf("the log has an alarm:\n%.2000s", log.String())
	}
}
