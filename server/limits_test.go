package server_test

import (
	"errors"
	"io"
	"testing"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"

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
