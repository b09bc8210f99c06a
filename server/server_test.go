package server_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"securechat/auth"
	"securechat/auth/authtest"
	chatpb "securechat/proto/chat"
	"securechat/server"
)

// frozen is the contract as a stranger knows it: one message of three strings.
func frozen(t *testing.T) protoreflect.MessageDescriptor {
	t.Helper()
	text := func(name string, number int32) *descriptorpb.FieldDescriptorProto {
		return &descriptorpb.FieldDescriptorProto{
			Name: proto.String(name), Number: proto.Int32(number), JsonName: proto.String(name),
			Type:  descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum(),
			Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
		}
	}
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: proto.String("theirs.proto"), Package: proto.String("theirs"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{
			Name:  proto.String("Line"),
			Field: []*descriptorpb.FieldDescriptorProto{text("user", 1), text("message", 2), text("timestamp", 3)},
		}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return file.Messages().Get(0)
}

// A client that knows three fields and a path, and has none of our code, gets the
// echo, whether or not there are rooms.
func TestAStrangersClient(t *testing.T) {
	t.Run("without rooms", func(t *testing.T) {
		realm := authtest.NewRealm(t)
		echoesStrangers(t, realm.User("alice").Dial(start(t, realm, server.Config{})))
	})
	t.Run("beside rooms", func(t *testing.T) {
		c := openRooms(t)
		echoesStrangers(t, c.realm.User("alice").Dial(c.address))
	})
}

func echoesStrangers(t *testing.T, conn *grpc.ClientConn) {
	t.Helper()
	descriptor := frozen(t)
	stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/chat.Chat/chatStream")
	if err != nil {
		t.Fatal(err)
	}
	field := func(m *dynamicpb.Message, name protoreflect.Name) string {
		return m.Get(descriptor.Fields().ByName(name)).String()
	}
	for _, text := range []string{"Hello, server!", "", "How are you?"} {
		line := dynamicpb.NewMessage(descriptor)
		line.Set(descriptor.Fields().ByName("user"), protoreflect.ValueOfString("Server"))
		line.Set(descriptor.Fields().ByName("message"), protoreflect.ValueOfString(text))
		if err := stream.SendMsg(line); err != nil {
			t.Fatal(err)
		}
		ack := dynamicpb.NewMessage(descriptor)
		if err := stream.RecvMsg(ack); err != nil {
			t.Fatal(err)
		}
		if field(ack, "user") != "Server" || field(ack, "message") != "Acknowledged: "+text {
			t.Errorf("acknowledgement %v", ack)
		}
		if _, err := time.Parse("2006-01-02T15:04:05.000Z", field(ack, "timestamp")); err != nil {
			t.Error(err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := stream.RecvMsg(dynamicpb.NewMessage(descriptor)); !errors.Is(err, io.EOF) {
		t.Errorf("after the half-close: %v", err)
	}
}

func TestHealthNeedsACertificateAndNoToken(t *testing.T) {
	realm := authtest.NewRealm(t)
	prober := realm.User("prober")
	prober.Token = ""
	client := healthpb.NewHealthClient(prober.Dial(start(t, realm, server.Config{})))
	for _, service := range []string{"", "chat.Chat"} {
		answer, err := client.Check(t.Context(), &healthpb.HealthCheckRequest{Service: service})
		if err != nil || answer.Status != healthpb.HealthCheckResponse_SERVING {
			t.Errorf("health of %q: %v, %v", service, answer, err)
		}
	}
}

// Shutdown ends streams with a word on when to come back, and returns when all
// have ended; nobody needs to wait for its grace.
func TestShutdown(t *testing.T) {
	realm := authtest.NewRealm(t)
	srv, err := server.New(server.Config{Certificates: realm.Server(), Tokens: realm.Verifier(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(listener) }()
	streams := []chatpb.Chat_ChatStreamClient{open(t, realm.User("alice"), listener.Addr().String()), open(t, realm.User("bob"), listener.Addr().String())}
	for _, stream := range streams {
		wantAlive(t, stream)
	}
	if n := len(srv.Sessions()); n != 2 {
		t.Errorf("%d sessions, want 2", n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	srv.Shutdown(ctx)
	if err := <-served; err != nil {
		t.Error(err)
	}
	for _, stream := range streams {
		_, err := stream.Recv()
		if reason, _ := auth.ReasonOf(err); status.Code(err) != codes.Unavailable || reason != auth.Draining {
			t.Errorf("the stream ended with %v, want UNAVAILABLE, DRAINING", err)
		}
	}
}

// Fields beyond the frozen ones are for those who know them.
func TestUnknownFieldsAreIgnored(t *testing.T) {
	realm := authtest.NewRealm(t)
	stream := open(t, realm.User("alice"), start(t, realm, server.Config{}))
	m := &chatpb.ChatMessage{Message: "hello"}
	m.ProtoReflect().SetUnknown(protoreflect.RawFields{0xfa, 0x3e, 0x01, 'x'}) // field 1007
	if ack := echo(t, stream, m); ack.Message != "Acknowledged: hello" || len(ack.ProtoReflect().GetUnknown()) != 0 {
		t.Errorf("acknowledgement %v", ack)
	}
}
