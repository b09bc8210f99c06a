package client_test

import (
	"context"
	"log"
	"log/slog"
	"net"
	"time"

	"securechat/auth"
	"securechat/certs"
	"securechat/client"
	"securechat/server"
	"securechat/server/room/roomtest"
)

type exampleServer struct {
	address string
	stop    func()
}

type exampleUser struct {
	certificates certs.Source
	token        client.TokenSource
}

// startExample makes an authority and an issuer in memory, and runs a server
// that trusts both.
func startExample() (exampleServer, exampleUser) {
	ca := need(certs.NewCA(certs.CAOptions{}))
	signer := need(auth.NewSigningKey())
	keys := need(auth.ParseKeySet(need(signer.JWKS())))
	verifier := need(auth.NewVerifier(auth.VerifierConfig{
		Issuers: []auth.Issuer{{Name: "https://issuer.example", Audience: "chat", Keys: keys}},
	}))
	own := need(need(ca.IssueServer([]string{"127.0.0.1"}, certs.IssueOptions{})).Material(ca.Certificate()))
	alice := need(ca.IssueUser("alice", certs.IssueOptions{}))
	thumbprint := certs.Thumbprint(alice.Certificate())
	token := need(signer.Mint(auth.MintClaims{
		Issuer: "https://issuer.example", Audience: []string{"chat"}, Subject: "alice", Confirmation: &thumbprint,
		Scopes: []string{"chat:read", "chat:write"}, Rooms: []string{"lobby"},
	}))

	srv := need(server.New(server.Config{
		Certificates: own, Tokens: verifier, Log: slog.New(slog.DiscardHandler),
		Rooms: server.Rooms{Log: roomtest.NewMemory()},
	}))
	listener := need(net.Listen("tcp", "127.0.0.1:0"))
	served := make(chan error, 1)
	go func() { served <- srv.Serve(listener) }()
	stop := func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		srv.Shutdown(ctx)
		if err := <-served; err != nil {
			log.Fatal(err)
		}
	}
	return exampleServer{listener.Addr().String(), stop}, exampleUser{
		certificates: need(alice.Material(ca.Certificate())),
		token:        client.TokenFunc(func(context.Context) (string, error) { return token, nil }),
	}
}

func need[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}
