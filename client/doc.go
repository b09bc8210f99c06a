// Package client talks to a chat server: it dials with a certificate, opens
// streams with a token, sends and receives.
//
//	source, err := certs.Files(certs.Paths{Certificate: "alice.crt", Key: "alice.key", Roots: "ca.crt"})
//	...
//	conn, err := client.Dial(client.Config{
//		Server:       "chat.example.org",
//		Certificates: source,
//		Token:        client.TokenFile("alice.token"),
//	})
//	...
//	stream, err := conn.Open(ctx) // admitted, or an error that says why not
//	...
//	err = stream.Send(ctx, "Hello, server!")
//	err = stream.CloseSend()
//	for m, err := range stream.Messages(ctx) {
//		...
//	}
//
// A [Conn] carries many streams and connects by itself, again where it must; the
// certificate files and the token may be replaced while it lives. A [Stream] is
// one conversation: it ends when the server acknowledges the last message after
// CloseSend, when the token or the certificate expires ([Stream.Expires]), or
// with an [*Error], whose Retryable says whether opening another can help.
//
// # Contexts
//
// The context of Open bounds the opening alone, as that of a net.Dialer does:
// end a stream with Close. gRPC cannot take back one Send or one Receive, so
// where their context ends while they are blocked, the stream ends with it. A
// context that has ended before the call costs the stream nothing.
//
// # Traces
//
// Where Config.Tracing is set, Open makes the span "connect", and each message a
// trace of its own: "send" here, "process" at the server, "receive" here again,
// joined by the message's own traceparent and linked to "connect". The parent of
// "send" is the span in the context given to Send, where there is one.
package client
