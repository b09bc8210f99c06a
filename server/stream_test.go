package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"

	"securechat/auth"
	"securechat/auth/authtest"
	chatpb "securechat/proto/chat"
)

// A numbering is a chat whose handler says which stream of its connection the
// door took it for, and which it is to grpc-go.
type numbering struct {
	chatpb.UnimplementedChatServer
	seen chan [2]uint32
}

func (n numbering) ChatStream(chat chatpb.Chat_ChatStreamServer) error {
	took, _ := chat.Context().Value(streamKey{}).(*callStream)
	inner := reflect.ValueOf(grpc.ServerTransportStreamFromContext(chat.Context())).Elem().FieldByName("id")
	n.seen <- [2]uint32{took.id, uint32(inner.Uint())}
	return nil
}

// The door knows the stream of each call, however many calls come at once and
// whichever of them grpc-go refuses by itself. It rests on grpc-go reading no
// further than the header block of a call before the call is at the door.
func TestTheDoorKnowsTheStream(t *testing.T) {
	realm := authtest.NewRealm(t)
	seen := make(chan [2]uint32, 100)
	address, _ := serveBehindChain(t, realm, numbering{seen: seen}, slog.New(slog.DiscardHandler))
	alice := realm.User("alice")

	var wire, block bytes.Buffer
	wire.WriteString(http2.ClientPreface)
	framer, encoder := http2.NewFramer(&wire, nil), hpack.NewEncoder(&block)
	if err := framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	const calls = 30
	want := 0 // calls that come to the handler
	for i := range uint32(calls) {
		id := 2*i + 1
		block.Reset()
		kind := "application/grpc"
		if i%3 == 1 {
			kind = "text/plain" // refused before the door
		} else {
			want++
		}
		for _, field := range [][2]string{
			{":method", "POST"}, {":scheme", "https"}, {":path", chatpb.Chat_ChatStream_FullMethodName}, {":authority", "localhost"},
			{"content-type", kind}, {"te", "trailers"}, {"authorization", "Bearer " + alice.Token},
		} {
			if err := encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}); err != nil {
				t.Fatal(err)
			}
		}
		split := 0
		if i%2 == 1 {
			split = block.Len() / 2 // in two frames
		}
		head := http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes()[split:], EndHeaders: split == 0}
		if split > 0 {
			head.BlockFragment = block.Bytes()[:split]
		}
		if err := framer.WriteHeaders(head); err != nil {
			t.Fatal(err)
		}
		if split > 0 {
			if err := framer.WriteContinuation(id, true, block.Bytes()[split:]); err != nil {
				t.Fatal(err)
			}
		}
	}
	conn, err := tls.Dial("tcp", address, &tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: authtest.ServerName, NextProtos: []string{"h2"},
		RootCAs: alice.Certificates.Pool(), Certificates: []tls.Certificate{*alice.Certificates.Certificate()},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(wire.Bytes()); err != nil {
		t.Fatal(err)
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		_, _ = io.Copy(io.Discard, conn) // until it is closed
	}()
	defer func() { conn.Close(); <-drained }()
	patience := time.After(20 * time.Second)
	for range want {
		select {
		case pair := <-seen:
			if pair[0] != pair[1] {
				t.Errorf("the door took stream %d for stream %d", pair[1], pair[0])
			}
		case <-patience:
			t.Fatal("not all calls have come to the handler")
		}
	}
}

// Whom the server does not serve any more has no more than the time of a stall.
func TestWhoMayTakeTheirTime(t *testing.T) {
	for _, test := range []struct {
		err  error
		want bool
	}{
		{auth.Refuse(auth.TokenExpired, nil), false},
		{auth.Refuse(auth.MessageInvalid, nil), false},
		{errors.New("the handler failed"), false},
		{auth.Refuse(auth.Draining, nil), true}, // what was accepted is acknowledged
		{nil, true},
	} {
		s := &callStream{}
		patientWith(context.WithValue(t.Context(), streamKey{}, s), test.err)
		if got := s.orderly.Load(); got != test.want {
			t.Errorf("after %v a client may take its time: %t", test.err, got)
		}
	}
}

// To close the connection of a client that does not read holds nobody up.
func TestAbortDoesNotWaitForTheClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		realm := authtest.NewRealm(t)
		raw, theirs := net.Pipe() // without buffers: a write waits for the reader
		defer theirs.Close()
		secured := tls.Server(raw, &tls.Config{
			Certificates: []tls.Certificate{*realm.Server().Certificate()}, MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true,
		})
		shaken := make(chan error, 1)
		go func() {
			shaken <- tls.Client(theirs, &tls.Config{RootCAs: realm.Server().Pool(), ServerName: authtest.ServerName}).Handshake()
		}()
		if err := errors.Join(secured.Handshake(), <-shaken); err != nil {
			t.Fatal(err)
		}
		c := newConnection(raw, secured, "alice")
		c.released = func() {}
		began := time.Now()
		c.abort()
		if took := time.Since(began); took > 0 { // by the bubble's clock
			t.Errorf("it took %v", took)
		}
	})
}
