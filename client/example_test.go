package client_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"securechat/client"
)

func Example() {
	server, alice := startExample() // a server, and alice's certificate and token
	defer server.stop()

	conn, err := client.Dial(client.Config{
		Server:       server.address,
		Certificates: alice.certificates, // in a program: certs.Files(certs.Paths{...})
		Token:        alice.token,        // in a program: client.TokenFile("alice.token")
	})
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	stream, err := conn.Open(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer stream.Close()
	fmt.Println("admitted as", stream.User())

	for _, text := range []string{"Hello, server!", "How are you?"} {
		if err := stream.Send(ctx, text); err != nil {
			log.Fatal(err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		log.Fatal(err)
	}
	for m, err := range stream.Messages(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(m.User+":", m.Text)
	}
	// Output:
	// admitted as alice
	// Server: Acknowledged: Hello, server!
	// Server: Acknowledged: How are you?
}

func ExampleConn_Join() {
	server, alice := startExample()
	defer server.stop()
	conn, err := client.Dial(client.Config{Server: server.address, Certificates: alice.certificates, Token: alice.token})
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	room, err := conn.Join(ctx, "lobby", client.FromStart())
	if err != nil {
		log.Fatal(err)
	}
	defer room.Close()

	for _, text := range []string{"Hello, everybody!", "Anybody here?"} {
		if _, err := room.Send(ctx, text); err != nil { // stored, once this returns nil
			log.Fatal(err)
		}
	}
	for m, err := range room.Messages(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(m.User+":", m.Text)
		if m.Text == "Anybody here?" {
			break
		}
	}
	// Output:
	// alice: Hello, everybody!
	// alice: Anybody here?
}

func ExampleError() {
	server, alice := startExample()
	defer server.stop()
	conn, err := client.Dial(client.Config{
		Server:       server.address,
		Certificates: alice.certificates,
		Token:        client.TokenFunc(func(context.Context) (string, error) { return "not.a.token", nil }),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()

	_, err = conn.Open(context.Background())
	if refusal, ok := err.(*client.Error); ok {
		fmt.Println(refusal.Code, refusal.Reason, "retry:", refusal.Retryable())
	}
	// Output: Unauthenticated TOKEN_MALFORMED retry: false
}
