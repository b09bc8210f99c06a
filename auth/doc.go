// Package auth knows who is calling a gRPC service, whether they may, and for
// how long. It knows nothing of chat: put it in front of any service.
//
// A caller is somebody when two things agree: a client certificate that leads to
// a trusted root and has exactly one identity, and a signed token that is bound
// to that certificate (RFC 8705). Neither is enough alone. A stolen token is
// worth nothing without the key of its certificate, and a stolen key nothing
// without a token, which soon expires.
//
// # A guarded server
//
// A Guard needs the server's key material (package certs), a Verifier for
// tokens, and a Policy that lists who may call what. What the policy does not
// list is refused.
//
//	source, err := certs.Files(certs.Paths{Certificate: "server.crt", Key: "server.key", Roots: "clients.crt"})
//	keys, err := auth.Keys("https://id.example.org/jwks.json")
//	verifier, err := auth.NewVerifier(auth.VerifierConfig{
//		Issuers: []auth.Issuer{{Name: "https://id.example.org", Audience: "notes", Keys: keys}},
//	})
//	guard, err := auth.New(auth.Config{
//		Certificates: source, Tokens: verifier,
//		Policy: auth.Policy{"/notes.Notes/Watch": auth.Scopes("notes:read")},
//	})
//	srv := grpc.NewServer(append(guard.ServerOptions(), grpc.Creds(certs.ServerCredentials(source)))...)
//	notespb.RegisterNotesServer(auth.Registrar(srv), service)
//	err = guard.Covers(srv)
//
// Handlers ask FromContext who is calling; their tests put somebody there with
// NewContext. Stamp writes the caller into each message of a stream. Supervise,
// which is one of the guard's steps, ends a stream when its caller's authority
// ends, however long it lives and whatever its handler is doing. Callers extend
// it on the same connection through the guard's SessionServer; Sessions, End and
// Drain are the operator's.
//
// # Tokens
//
// A token is a compact JWS (RFC 7515) of at most 8 KiB, signed with EdDSA or
// ES256 unless an Issuer lists other algorithms, with a key that its kid names
// in the issuer's key set. Required are kid, iss, aud, sub and exp, each of its
// JSON type. There is no leeway on exp. Duplicate members, critical headers and
// types other than JWT and at+jwt are refused (RFC 8725). See Verifier.
//
// # Refusals
//
// A refusal is a *Refusal: a gRPC status with a google.rpc.ErrorInfo, whose
// reason is one of the Reason constants, for the caller; the cause, for the log.
// Programs on either side read the reason with ReasonOf.
//
// # Concurrency
//
// Guards, verifiers and key sources may be used concurrently. A handler runs on
// a goroutine of its own, beside that of the interceptors. Guard.Wait returns
// when the handlers whose streams were cut have left; call it after the server
// has stopped. Key sources that follow a file or URL are closed with Close.
package auth
