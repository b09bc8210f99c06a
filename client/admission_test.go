package client

import (
	"context"
	"crypto/x509"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"securechat/auth"
	"securechat/auth/authtest"
	"securechat/certs"
	chatpb "securechat/proto/chat"
	"securechat/server"
)

func TestOpenAdmitted(t *testing.T) {
	realm := authtest.NewRealm(t)
	address := startServer(t, realm)
	until := time.Now().Add(time.Hour).Truncate(time.Second)
	user := realm.User("alice", func(c *auth.MintClaims) { c.Expires = until })

	// Metadata in the caller's context must not join this package's: two tokens
	// would be refused.
	ctx := metadata.AppendToOutgoingContext(patient(t), "authorization", "Bearer other", "chat-room", "general")
	ctx, cancel := context.WithCancel(ctx)
	stream, err := dial(t, user, address).Open(ctx)
	must(t, err)
	defer stream.Close()
	if stream.User() != "alice" || !stream.Expires().Equal(until) {
		t.Errorf("got %q until %v, want alice until %v", stream.User(), stream.Expires(), until)
	}

	cancel() // of the opening: the stream stays
	must(t, stream.Send(patient(t), "still here"))
	if m, err := stream.Receive(patient(t)); err != nil || m.Text != "Acknowledged: still here" {
		t.Errorf("got %+v, %v", m, err)
	}
}

// A connection heals by itself, with the certificate and the token of then.
func TestOpenAgain(t *testing.T) {
	realm := authtest.NewRealm(t)
	address := startServer(t, realm, func(c *server.Config) { c.Limits.StreamsPerIdentity = 1 })
	user := realm.User("alice")
	good := user.Token
	conn := dial(t, user, address)

	user.Token = "worthless"
	if _, err := conn.Open(patient(t)); err == nil {
		t.Fatal("admitted with a worthless token")
	}
	user.Token = good
	first := open(t, conn)
	_, err := conn.Open(patient(t))
	if reason, _ := auth.ReasonOf(err); reason != auth.TooManyStreams {
		t.Errorf("got %v, want TOO_MANY_STREAMS", err)
	}
	must(t, first.Send(patient(t), "one"))
	if _, err := first.Receive(patient(t)); err != nil {
		t.Errorf("the refusal of another stream harmed this one: %v", err)
	}
}

// swap is a Source whose material a test replaces.
type swap struct{ atomic.Pointer[certs.Material] }

func (s *swap) Material() *certs.Material { return s.Load() }

// The failure of an earlier connection does not explain the end of a later one.
func TestOpenAfterFailure(t *testing.T) {
	realm := authtest.NewRealm(t)
	srv := grpc.NewServer(grpc.Creds(certs.ServerCredentials(realm.Server())))
	chatpb.RegisterChatServer(srv, oddChat{handler: silent})
	user := realm.User("alice")
	source := &swap{}
	wary, err := certs.NewMaterial(user.Certificates.Certificate(), []*x509.Certificate{newCA(t).Certificate()}, nil)
	must(t, err)
	source.Store(wary)
	conn := dial(t, user, realm.Serve(srv), func(c *Config) { c.Certificates = source })
	_, err = conn.Open(patient(t))
	if problem, _ := certs.ProblemOf(err); problem != certs.Untrusted {
		t.Fatalf("got %v, want a refusal of the server's certificate", err)
	}

	source.Store(user.Certificates)
	ctx := patient(t)
	var stream *Stream
	for stream == nil && ctx.Err() == nil {
		conn.lines.current.grpc.ResetConnectBackoff()
		stream, _ = conn.Open(ctx)
	}
	if stream == nil {
		t.Fatal("good roots are of no use")
	}
	defer stream.Close()
	srv.Stop()
	_, err = stream.Receive(ctx)
	var lost *Error
	if !errors.As(err, &lost) || !lost.Retryable() || !strings.Contains(lost.Text, "connection was lost") {
		t.Errorf("got %v, want a lost connection", err)
	}
}

// Servers that follow the contract less than ours.
func TestOpenHeaders(t *testing.T) {
	realm := authtest.NewRealm(t)
	tests := []struct {
		name    string
		header  metadata.MD
		user    string
		refused bool
	}{
		{"user is not escaped well", metadata.Pairs(chatpb.HeaderUser, "%zz"), "", true},
		{"expiry is no time", metadata.Pairs(chatpb.HeaderExpires, "tomorrow"), "", true},
		{"none", nil, "", false},
		{"escaped", metadata.Pairs(chatpb.HeaderUser, chatpb.EscapeUser("zoë")), "zoë", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			address := startOdd(t, realm, func(stream chatpb.Chat_ChatStreamServer) error {
				if err := stream.SendHeader(test.header); err != nil {
					return err
				}
				<-stream.Context().Done()
				return nil
			})
			stream, err := dial(t, realm.User("alice"), address).Open(patient(t))
			if (err != nil) != test.refused {
				t.Fatalf("got %v, want refused %v", err, test.refused)
			}
			if err == nil {
				defer stream.Close()
				if stream.User() != test.user || !stream.Expires().IsZero() {
					t.Errorf("got %q, %v", stream.User(), stream.Expires())
				}
			}
		})
	}
}
