package server_test

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"securechat/auth"
	"securechat/auth/authtest"
	chatpb "securechat/proto/chat"
	"securechat/server"
)

const check = "/grpc.health.v1.Health/Check"

// A client is a connection of raw HTTP/2 frames that keeps to nothing.
type client struct {
	*http2.Framer
	t    *testing.T
	conn net.Conn
	next uint32
}

func abuse(t *testing.T, address string, user *authtest.User, settings ...http2.Setting) *client {
	t.Helper()
	conn, err := tls.Dial("tcp", address, clientTLS(user))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	c := &client{Framer: http2.NewFramer(conn, conn), t: t, conn: conn, next: 1}
	if err := c.WriteSettings(settings...); err != nil {
		t.Fatal(err)
	}
	return c
}

// open begins a call and returns its stream.
func (c *client) open(path, token string, more ...[2]string) uint32 {
	c.t.Helper()
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	fields := [][2]string{
		{":method", "POST"}, {":scheme", "https"}, {":path", path}, {":authority", "localhost"},
		{"content-type", "application/grpc"}, {"te", "trailers"},
	}
	fields = append(fields, more...)
	if token != "" {
		fields = append(fields, [2]string{"authorization", "Bearer " + token})
	}
	for _, field := range fields {
		if err := encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}); err != nil {
			c.t.Fatal(err)
		}
	}
	stream := c.next
	c.next += 2
	// An error is that the server has closed the connection, which the caller sees.
	_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block.Bytes(), EndHeaders: true})
	return stream
}

// message frames a message of gRPC.
func message(body []byte) []byte {
	framed := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body)))
	return append(framed, body...)
}

// closed reads until the server closes the connection.
func (c *client) closed() {
	c.t.Helper()
	if err := c.conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		c.t.Fatal(err)
	}
	var timeout net.Error
	if _, err := io.Copy(io.Discard, c.conn); errors.As(err, &timeout) && timeout.Timeout() {
		c.t.Fatal("the server keeps the connection")
	}
}

// A client that never takes the end of its streams is disconnected, although
// their handlers have returned and their status is on its way.
func TestAClientThatDoesNotTakeTheEndOfItsStreams(t *testing.T) {
	realm := authtest.NewRealm(t)
	log := &journal{}
	reader := sdkmetric.NewManualReader()
	address := start(t, realm, server.Config{
		Log: log.logger(), Limits: server.Limits{Stall: 300 * time.Millisecond},
		Metrics: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)),
	})
	bystander := open(t, realm.User("bob"), address)
	alice := realm.User("alice")
	c := abuse(t, address, alice, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	stream := c.open(chatpb.Chat_ChatStream_FullMethodName, alice.Token)
	if err := c.WriteData(stream, true, message([]byte{2<<3 | 2, 2, 'h', 'i'})); err != nil {
		t.Fatal(err)
	}
	c.closed()
	waitFor(t, "line that says so", func() bool {
		return len(log.lines(t, "connection closed: the client does not take the end of its streams")) == 1
	})
	if n := collect(t, reader)["securechat.connections.closed"]; n != 1 {
		t.Errorf("%v connections are counted as closed, want one", n)
	}
	wantAlive(t, bystander)
}

// A stream that is open and idle is not stuck, however long.
func TestAnIdleStreamIsNotStuck(t *testing.T) {
	realm := authtest.NewRealm(t)
	address := start(t, realm, server.Config{Limits: server.Limits{Stall: 100 * time.Millisecond}})
	idle := open(t, realm.User("alice"), address)
	wantAlive(t, idle)
	stuck := abuse(t, address, realm.User("bob"), http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	if err := stuck.WriteData(stuck.open(check, ""), true, message(nil)); err != nil {
		t.Fatal(err)
	}
	stuck.closed() // by now the idle one has been idle for longer than that
	wantAlive(t, idle)
}

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

// A client that reads slowly gets all that it is owed, long after its stream is
// over for the server.
func TestASlowReaderGetsItAll(t *testing.T) {
	realm := authtest.NewRealm(t)
	address := start(t, realm, server.Config{Limits: server.Limits{Stall: 200 * time.Millisecond}})
	alice := realm.User("alice")
	c := abuse(t, address, alice, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1000})
	stream := c.open(chatpb.Chat_ChatStream_FullMethodName, alice.Token)
	body := append([]byte{2<<3 | 2, 0xa0, 0x1f}, bytes.Repeat([]byte{'x'}, 4000)...)
	if err := c.WriteData(stream, true, message(body)); err != nil {
		t.Fatal(err)
	}
	if err := c.conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	slowly := time.NewTicker(100 * time.Millisecond)
	defer slowly.Stop()
	for got := 0; ; {
		frame, err := c.ReadFrame()
		if err != nil {
			t.Fatalf("after %d bytes: %v", got, err)
		}
		switch frame := frame.(type) {
		case *http2.DataFrame:
			got += len(frame.Data())
			<-slowly.C
			if err := c.WriteWindowUpdate(stream, 500); err != nil {
				t.Fatal(err)
			}
		case *http2.HeadersFrame, *http2.ContinuationFrame:
			if frame.Header().Flags.Has(http2.FlagHeadersEndStream) {
				if got < 4000 {
					t.Errorf("the stream ended after %d bytes", got)
				}
				return
			}
		}
	}
}

// What is taken on other streams does not hide that the end of one is not.
func TestAStuckStreamAmongBusyOnes(t *testing.T) {
	realm := authtest.NewRealm(t)
	address := start(t, realm, server.Config{Limits: server.Limits{Stall: 300 * time.Millisecond}})
	alice := realm.User("alice")
	c := abuse(t, address, alice, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	var busy [3]uint32
	for i := range busy {
		busy[i] = c.open(chatpb.Chat_ChatStream_FullMethodName, alice.Token)
	}
	stuck := c.open(chatpb.Chat_ChatStream_FullMethodName, alice.Token)
	hi := message(field(2, "hi"))
	if err := c.WriteData(stuck, true, hi); err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		c.closed()
	}()
	_ = c.WriteWindowUpdate(0, 1<<30) // an error is that the server has closed the connection
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(10 * time.Second)
	for {
		select {
		case <-gone:
			return
		case <-limit:
			t.Fatal("the server keeps the connection")
		case <-tick.C:
			for _, stream := range busy {
				_ = c.WriteWindowUpdate(stream, 1000)
				_ = c.WriteData(stream, false, hi)
			}
		}
	}
}

// A stream that the server ends is not kept by a client that takes what is before
// its end a little at a time.
func TestAStreamThatIsCutIsNotReadSlowly(t *testing.T) {
	realm := authtest.NewRealm(t)
	address := start(t, realm, server.Config{Limits: server.Limits{Stall: 300 * time.Millisecond}})
	alice := realm.User("alice")
	c := abuse(t, address, alice, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 100})
	stream := c.open(chatpb.Chat_ChatStream_FullMethodName, alice.Token)
	if err := c.WriteData(stream, false, message(field(2, strings.Repeat("x", 4000)))); err != nil {
		t.Fatal(err)
	}
	if err := c.WriteData(stream, false, message([]byte{0xff})); err != nil { // ends it with MESSAGE_INVALID
		t.Fatal(err)
	}
	if err := c.conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	slowly := time.NewTicker(50 * time.Millisecond)
	defer slowly.Stop()
	for got := 0; ; {
		frame, err := c.ReadFrame()
		if err != nil {
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				t.Fatal(err)
			}
			return // closed
		}
		if data, ok := frame.(*http2.DataFrame); ok {
			<-slowly.C
			_ = c.WriteWindowUpdate(stream, 50) // an error is that the server has closed the connection
			if got += len(data.Data()); got > 4000 {
				t.Fatal("the client has taken all in its own time")
			}
		}
	}
}

// Opening and resetting other streams is no progress.
func TestAStuckClientThatResetsOtherStreams(t *testing.T) {
	realm := authtest.NewRealm(t)
	address := start(t, realm, server.Config{Limits: server.Limits{Stall: 200 * time.Millisecond}})
	alice := realm.User("alice")
	c := abuse(t, address, alice, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	stream := c.open(chatpb.Chat_ChatStream_FullMethodName, alice.Token)
	if err := c.WriteData(stream, true, message([]byte{2<<3 | 2, 2, 'h', 'i'})); err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		c.closed()
	}()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-gone:
			return
		case <-tick.C:
			other := c.open(check, "")
			if c.WriteRSTStream(other, http2.ErrCodeCancel) != nil {
				<-gone
				return
			}
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

// On a connection beyond the limit nothing is read of a unary call either.
func TestUnaryCallsBeyondTheConnectionsOfAnIdentity(t *testing.T) {
	realm := authtest.NewRealm(t)
	address := start(t, realm, server.Config{Limits: server.Limits{ConnectionsPerIdentity: 1}})
	alice := realm.User("alice")
	wantAlive(t, open(t, alice, address))
	_, err := healthpb.NewHealthClient(alice.Dial(address)).Check(t.Context(), &healthpb.HealthCheckRequest{})
	wantReason(t, err, codes.ResourceExhausted, auth.TooManyConnections)
}

// Strangers who do not shake hands take nobody's place.
func TestHandshakesPerAddress(t *testing.T) {
	realm := authtest.NewRealm(t)
	log := &journal{}
	address := start(t, realm, server.Config{Log: log.logger(), Limits: server.Limits{HandshakesPerAddress: 3}})
	for range 8 {
		silent, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
	}
	waitFor(t, "refusals of what is too much", func() bool { return len(log.lines(t, "refused")) == 5 })
	for _, line := range log.lines(t, "refused") {
		if line["reason"] != "TOO_MANY_CONNECTIONS" {
			t.Errorf("the line is %v", line)
		}
	}
}

func TestConnectionsInAll(t *testing.T) {
	realm := authtest.NewRealm(t)
	address := start(t, realm, server.Config{Limits: server.Limits{Connections: 1}})
	first := realm.User("alice").Dial(address)
	stream, err := chatpb.NewChatClient(first).ChatStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wantAlive(t, stream)
	_, err = chatpb.NewChatClient(realm.User("bob").Dial(address)).ChatStream(t.Context())
	wantReason(t, err, codes.Unavailable, "")
	wantAlive(t, stream)
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
