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
// CloseSend, when the token or the certificate expires and there was no other in
// time ([Stream.Expires]), or
// with an [*Error], whose Retryable says whether opening another can help.
//
// # Rooms
//
//	room, err := conn.Join(ctx, "lobby") // or client.After(cursor), client.FromStart()
//	...
//	receipt, err := room.Send(ctx, "Hello, everybody!") // stored for good
//	for m, err := range room.Messages(ctx) {
//		...
//	}
//
// A [Room] outlives its streams. Where one ends that another can replace, the Room
// opens it by itself, first at once or nearly so and then less and less often up to
// every five seconds, or when the server asks it to, within five minutes, and goes on
// from where it was: its program receives every message once and in order, and what
// it has sent and has not had acknowledged goes out again, to be stored once.
// [Room.Events] tells of that and of who comes and goes.
//
// What a program keeps of its place is the sequence of the last message that it
// has dealt with. With [After] it goes on from there when it runs again.
//
// # Streams that outlive their token
//
// While a Conn has live streams it keeps their authority fresh by itself. After
// 70 to 80 percent of the time that is left until they expire it asks the
// [TokenSource], and if the token lives longer than they do, calls
// auth.v1.Session/Refresh with it: once for all streams of the connection, and
// not again within 2 seconds. A program need only see to it that the source has a
// new token by then, such as by replacing the file of [TokenFile], and may follow
// along with Config.Events:
//
//	Events: func(e client.Event) {
//		switch e := e.(type) {
//		case client.Refreshed:
//			log.Info("refreshed", "expires", e.Expires)
//		case client.RefreshFailed:
//			log.Warn("not refreshed", "err", e.Err, "final", e.Final, "retry", e.Retry)
//		case client.Moved:
//			log.Info("moved to the new certificate", "streams", e.Streams, "expires", e.Expires)
//		case client.MoveFailed:
//			log.Warn("still on the old certificate", "err", e.Err, "final", e.Final, "retry", e.Retry)
//		}
//	},
//
// What fails is tried again after a second, then less and less often up to every
// minute, and more often as the end comes close: a source with an error or with no
// newer token, a server that cannot be reached or cannot verify just now. A token
// that the server refuses for good (revoked, another certificate's; or the server
// knows no refresh) is not shown again, and the source is asked for another. No
// failure harms the streams: they live on until they would have expired.
//
// The clocks of client and server may differ by no more than a fifth of a token's
// life.
//
// # Streams that outlive their certificate
//
// What a refresh cannot extend is the authority of a certificate. When the Conn
// has a new one from Config.Certificates, it connects anew and has its live streams
// admitted there, with a token that it asks the source for: tokens are bound to
// certificates. Between two Sends a stream goes over. What was sent before is
// acknowledged on the old connection, and received first; then it goes on with the
// new one. Nothing is lost, doubled or out of order, and the program notices
// nothing but a [Moved]. The acknowledgements are fetched from the old connection at
// once, however late the program receives them, and when the last stream has left
// it, it is closed. A stream for which more than a MiB waits like this moves again
// once its program has received it. For a moment each stream counts twice against
// the server's limits.
//
// Replace the certificate and its token in any order, soon after each other. Until
// both are there, or while the new certificate is refused, the old connection
// serves on, also for streams that are opened with a token of the old certificate,
// and a [MoveFailed] says why. It is tried again as a refresh is, after a second,
// then less and less often up to every minute. What the server refuses for good (a
// token or certificate that is revoked or unfit; or if they are another user's) is
// not tried again until the certificate changes or the source gives another token.
// An authority that the server does not trust yet, or a certificate that is not
// valid yet, is no such refusal.
//
// If several certificates come one after the other, the newest counts. If the old
// connection fails while a stream is moving, the stream ends with that error, as
// if it had stayed: what had not been acknowledged may or may not have arrived.
//
// # Contexts
//
// The context of Open bounds the opening alone, as that of a net.Dialer does:
// end a stream with Close. gRPC cannot take back one Send or one Receive, so
// where their context ends while they are blocked, the stream ends with it. A
// context that has ended before the call costs the stream nothing. A Room's methods
// can be taken back, and their contexts cost it nothing at all; but a message that
// has been handed over may be stored all the same, which the error then says.
//
// # Traces
//
// Where Config.Tracing is set, Open makes the span "connect", and each message a
// trace of its own: "send" here, "process" at the server, "receive" here again,
// joined by the message's own traceparent and linked to "connect". The parent of
// "send" is the span in the context given to Send, where there is one. On a Stream
// "send" ends when the message is handed over, in a Room with its acknowledgement.
package client
