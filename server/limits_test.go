package server_test

import (
	"errors"
	"io"
	"net"
	"testing"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"securechat/auth"
	"securechat/auth/authtest"
	"securechat/certs"
	chatpb "securechat/proto/chat"
	"securechat/server"
)

func TestStreamsPerIdentity(t *testing.T) {
	realm := authtest.NewRealm(t)
	address := start(t, realm, server.Config{Limits: server.Limits{StreamsPerIdentity: 2}})
	alice := realm.User("alice")
	first, second := open(t, alice, address), open(t, alice, address)
	wantAlive(t, first)
	wantAlive(t, second)
	_, err := open(t, alice, address).Recv()
	wantReason(t, err, codes.ResourceExhausted, auth.TooManyStreams)
	wantAlive(t, open(t, realm.User("bob"), address))
	if err := first.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := first.Recv(); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	waitFor(t, "place for another stream", func() bool {
		stream := open(t, alice, address)
		return stream.Send(&chatpb.ChatMessage{}) == nil && func() bool { _, err := stream.Recv(); return err == nil }()
	})
}

// A connection is told how many streams it may have, and keeps to it or waits.
func TestStreamsPerConnection(t *testing.T) {
	realm := authtest.NewRealm(t)
	framer := abuse(t, start(t, realm, server.Config{Limits: server.Limits{StreamsPerConnection: 7}}), realm.User("alice"))
	frame, err := framer.ReadFrame()
	if err != nil {
		t.Fatal(err)
	}
	settings, ok := frame.(*http2.SettingsFrame)
	if !ok {
		t.Fatalf("the first frame is %v, want SETTINGS", frame)
	}
	if value, ok := settings.Value(http2.SettingMaxConcurrentStreams); !ok || value != 7 {
		t.Errorf("MAX_CONCURRENT_STREAMS is %d, want 7", value)
	}
}

func TestConnectionsPerIdentity(t *testing.T) {
	realm := authtest.NewRealm(t)
	address := start(t, realm, server.Config{Limits: server.Limits{ConnectionsPerIdentity: 1}})
	alice := realm.User("alice")
	first := alice.Dial(address)
	stream, err := chatpb.NewChatClient(first).ChatStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wantAlive(t, stream)
	_, err = open(t, alice, address).Recv()
	wantReason(t, err, codes.ResourceExhausted, auth.TooManyConnections)
	wantAlive(t, stream)
	wantAlive(t, open(t, realm.User("bob"), address))
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "place for another connection", func() bool {
		_, err := open(t, alice, address).Header()
		return err == nil
	})
}

func TestConfigurationThatIsRefused(t *testing.T) {
	realm := authtest.NewRealm(t)
	rootsOnly, err := certs.NewMaterial(nil, realm.Server().Roots(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, config := range map[string]server.Config{
		"no certificates":      {Tokens: realm.Verifier()},
		"no certificate of it": {Tokens: realm.Verifier(), Certificates: rootsOnly},
		"no verifier":          {Certificates: realm.Server()},
	} {
		if _, err := server.New(config); err == nil {
			t.Errorf("%s: no error", name)
		}
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
