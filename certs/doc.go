// Package certs is the key material of mutual TLS: where it comes from, how it
// is replaced while in use, and what is demanded of a peer's certificate.
//
// # Sources
//
// Everything starts from a [Source], which gives the [Material] of the moment: a
// certificate with its key, the roots to trust, and what is revoked. [Files]
// makes one of PEM files, [NewMaterial] one that never changes, and a [CA] has
// what tests need. A server or client is built on it in one line each:
//
//	grpc.NewServer(grpc.Creds(certs.ServerCredentials(source)), grpc.ConnectionTimeout(5*time.Second))
//	grpc.NewClient(target, grpc.WithTransportCredentials(certs.ClientCredentials(source, "")))
//
// Both speak TLS 1.3 alone, with certificates on both sides, and never resume a
// session, so that each connection passes every check. ServerConfig is the same
// for servers that are not gRPC's.
//
// # Rotation
//
// A handshake uses the material of its own time. To replace a certificate and
// key, write both; in whatever order and way that is done, they are taken up
// together once they match, within a second. To replace an authority, first
// trust the old and the new one, then renew the certificates, then drop the old
// one. A file that is broken changes nothing: the last good one serves on, and so
// do the other files and their changes; the error is logged and counted, and
// [FileSource.Feeds] has the counts. [Follow] does the same for a file of any kind.
//
// What has changed matters to connections made before, too. [Material.Check] says
// whether the chains of an earlier handshake still stand, [Material.StandsUntil]
// when they end by themselves, and [FileSource.Changed] when to look again.
//
// # Certificates
//
// A client's certificate must chain to a trusted root, be within its validity and
// not revoked, with all of its chain; be no authority's; and have the extended
// key usage clientAuth itself. Its identity, by [Identify], is its one subject
// alternative name of the configured kind: by default a URI
//
//	spiffe://<trust domain>/user/<name>
//
// A server's certificate must be for the name that is dialled, as everywhere in
// TLS. Keys are ECDSA, Ed25519 or RSA; those that the CA makes are ECDSA P-256.
//
// # Revocation
//
// Revocation lists (CRLs) count if the issuer in the peer's verified chain has
// signed them. An authority without a list has revoked nothing. A list past its
// nextUpdate serves on, with a warning, unless [WithStrictCRLs] is set. A
// revocations file adds single certificates, tokens and subjects by hand: see
// [ParseRevocations].
//
// # The authority
//
// [InitCA] makes an authority in a folder for development and small set-ups, and
// [OpenCA] opens it again. It issues for servers and users, revokes, and keeps
// its list. Guard the folder: who has ca.key is any user, and any server.
package certs
