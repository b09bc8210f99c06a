package auth_test

import (
	"context"
	"fmt"
	"log"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"securechat/auth"
	"securechat/certs"
	chatpb "securechat/proto/chat"
)

// A service of your own behind certificate and token. What the policy does not
// list is refused, and Covers finds what it forgets before the first caller does.
func Example() {
	source, err := certs.Files(certs.Paths{Certificate: "server.crt", Key: "server.key", Roots: "clients.crt"})
	if err != nil {
		log.Fatal(err)
	}
	defer source.Close()
	keys, err := auth.Keys("jwks.json") // or an https URL
	if err != nil {
		log.Fatal(err)
	}
	defer keys.Close()
	verifier, err := auth.NewVerifier(auth.VerifierConfig{
		Issuers: []auth.Issuer{{Name: "https://id.example.org", Audience: "notes", Keys: keys}},
	})
	if err != nil {
		log.Fatal(err)
	}
	guard, err := auth.New(auth.Config{
		Certificates: source,
		Tokens:       verifier,
		Policy:       auth.Policy{"/chat.Chat/chatStream": auth.Scopes("notes:write")},
	})
	if err != nil {
		log.Fatal(err)
	}
	srv := grpc.NewServer(append(guard.ServerOptions(), grpc.Creds(certs.ServerCredentials(source)))...)
	chatpb.RegisterChatServer(srv, chatpb.UnimplementedChatServer{})
	if err := guard.Covers(srv); err != nil {
		log.Fatal(err)
	}
	// srv.Serve(listener)
}

// greet is a handler as anyone writes one: it asks the context who is calling.
func greet(ctx context.Context) (string, error) {
	caller, ok := auth.FromContext(ctx)
	if !ok {
		return "", status.Error(codes.Unauthenticated, "who is there?")
	}
	return "hello, " + caller.User, nil
}

// A unit test of a handler needs no certificate, token or server.
func ExampleNewContext() {
	_, err := greet(context.Background())
	fmt.Println(status.Code(err))

	ctx := auth.NewContext(context.Background(), auth.Identity{User: "alice"})
	greeting, err := greet(ctx)
	fmt.Println(greeting, err)
	// Output:
	// Unauthenticated
	// hello, alice <nil>
}

// A health probe has a certificate and no token. The rule is the method's: all
// other methods go on asking for both.
func ExampleCertificateOnly() {
	policy := auth.Policy{
		"/grpc.health.v1.Health/Check": auth.CertificateOnly(),
		"/grpc.health.v1.Health/List":  auth.CertificateOnly(),
	}
	srv := grpc.NewServer()
	healthpb.RegisterHealthServer(srv, health.NewServer())
	fmt.Println(policy.Covers(srv.GetServiceInfo()))
	// Output: auth: the policy does not fit the server: /grpc.health.v1.Health/Watch has no rule
}

// Stamp overwrites what the client claims with what is verified.
func ExampleStamp() {
	stamp := auth.Stamp(func(m *chatpb.ChatMessage, id auth.Identity) { m.User = id.User })
	message := &chatpb.ChatMessage{User: "admin", Message: "let me in"}

	ctx := auth.NewContext(context.Background(), auth.Identity{User: "alice"})
	_, err := stamp.Unary(ctx, message, nil, func(_ context.Context, req any) (any, error) { return req, nil })
	fmt.Println(message.User, err)
	// Output: alice <nil>
}

// A program that is refused reads why from the status.
func ExampleReasonOf() {
	err := auth.Refusef(auth.TokenExpired, "for the log").GRPCStatus().Err() // as it arrives at a client
	reason, ok := auth.ReasonOf(err)
	fmt.Println(reason, ok, status.Code(err))
	// Output: TOKEN_EXPIRED true Unauthenticated
}
