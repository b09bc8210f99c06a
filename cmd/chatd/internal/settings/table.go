package settings

import (
	"slices"
	"time"

	"securechat/server"
)

// A setting is one thing that the service can be told. Its key is the name of
// its flag, its key in a file, and with CHATD_ before it, in capitals and with
// underscores, its environment variable.
type setting struct {
	key      string
	fallback string // the default, as a user would write it
	kind     string // of the value, for the help
	help     string
	required bool
	path     bool // a file's, which in a configuration file is relative to it
	take     func(*Settings, string) error
}

// table lists all settings, in the order in which they are shown.
func table() []setting {
	return slices.Concat(service(), rooms(), limits())
}

func service() []setting {
	return []setting{
		{key: "listen", fallback: ":50051", kind: "address", help: "where to serve, host:port", take: address(false, func(s *Settings) *string { return &s.Listen })},
		{key: "admin-listen", fallback: "127.0.0.1:9464", kind: "address", help: `where to serve health, metrics and profiles, without authentication; "off" for nowhere`, take: address(true, func(s *Settings) *string { return &s.AdminListen })},

		{key: "tls-cert", kind: "file", help: "the server's certificate, followed by those of its authorities", required: true, path: true, take: text(func(s *Settings) *string { return &s.TLSCert })},
		{key: "tls-key", kind: "file", help: "the private key of the server's certificate", required: true, path: true, take: text(func(s *Settings) *string { return &s.TLSKey })},
		{key: "client-ca", kind: "file", help: "the authorities whose client certificates are accepted", required: true, path: true, take: text(func(s *Settings) *string { return &s.ClientCA })},
		{key: "crl", kind: "file", help: "revocation lists of those authorities", path: true, take: text(func(s *Settings) *string { return &s.CRL })},
		{key: "revocations", kind: "file", help: "what else is revoked, a line each: jti ID, subject NAME [before TIME], certificate SHA256", path: true, take: text(func(s *Settings) *string { return &s.Revocations })},
		{key: "policy", kind: "file", help: "who may open which room, beside what tokens allow, a line each: room GLOB USER..., expel USER GLOB", path: true, take: text(func(s *Settings) *string { return &s.Policy })},
		{key: "identity", fallback: "uri", kind: "uri|dns|email", help: "which name in a certificate says whose it is: uri, dns or email", take: identity},
		{key: "trust-domain", kind: "name", help: "the only trust domain of URI identities; any that the authorities vouch for if empty", take: text(func(s *Settings) *string { return &s.TrustDomain })},

		{key: "jwks", kind: "file|url", help: "the token issuer's public keys, a file or an https URL", required: true, path: true, take: text(func(s *Settings) *string { return &s.JWKS })},
		{key: "jwks-ca", kind: "file", help: "the authorities that vouch for an https --jwks; the system's if empty", path: true, take: text(func(s *Settings) *string { return &s.JWKSCA })},
		{key: "jwks-max-age", fallback: "24h", kind: "duration", help: "how long after the last fetch the keys of an https --jwks are too old; see --feeds", take: duration(time.Second, func(s *Settings) *time.Duration { return &s.JWKSMaxAge })},
		{key: "feeds", fallback: "best-effort", kind: "best-effort|strict", help: "what becomes of who depends on a revocation list past its next update or on keys that are too old: best-effort, served, and the log says so; or strict, refused", take: feeds},
		{key: "issuer", kind: "name", help: "the iss of accepted tokens", required: true, take: text(func(s *Settings) *string { return &s.Issuer })},
		{key: "audience", kind: "name", help: "what the aud of accepted tokens must contain", required: true, take: text(func(s *Settings) *string { return &s.Audience })},
		{key: "algorithms", fallback: "EdDSA,ES256", kind: "list", help: "the accepted signature algorithms, of EdDSA, ES256, RS256 and PS256", take: algorithms},
		{key: "max-token-lifetime", fallback: "24h", kind: "duration", help: "how long a token may be valid in all", take: duration(time.Second, func(s *Settings) *time.Duration { return &s.MaxTokenLifetime })},
		{key: "bind", fallback: "certificate", kind: "certificate|subject", help: "what ties a token to a certificate: certificate, its cnf x5t#S256; or subject, its sub, which then is the certificate's identity", take: bind},
		{key: "max-session", fallback: "0s", kind: "duration", help: "how long a stream may live however often its token is refreshed; 0 for no bound", take: duration(0, func(s *Settings) *time.Duration { return &s.MaxSession })},

		{key: "grace", fallback: "10s", kind: "duration", help: "how long open streams have when the service is told to end", take: duration(0, func(s *Settings) *time.Duration { return &s.Grace })},
		{key: "log-format", fallback: FormatText, kind: "text|json", help: "how the log is written: text or json", take: logFormat},
		{key: "log-level", fallback: "info", kind: "level", help: "the least level that is logged: debug, info, warn or error", take: logLevel},
	}
}

// limits are those of server.Limits, with its defaults.
func limits() []setting {
	type field = func(*server.Limits) *time.Duration
	of := func(f field) func(*Settings) *time.Duration {
		return func(s *Settings) *time.Duration { return f(&s.Limits) }
	}
	return []setting{
		{key: "max-streams-per-connection", fallback: "100", kind: "count", help: "how many calls one connection may have open; more wait at the client", take: count(func(s *Settings) *uint32 { return &s.Limits.StreamsPerConnection })},
		{key: "max-streams-per-identity", fallback: "256", kind: "count", help: "how many streams one user may have on all connections", take: count(func(s *Settings) *int { return &s.Limits.StreamsPerIdentity })},
		{key: "max-calls-per-identity", fallback: "64", kind: "count", help: "how many calls of one method, such as History, one user may have under way on all connections", take: count(func(s *Settings) *int { return &s.Limits.CallsPerIdentity })},
		{key: "max-connections-per-identity", fallback: "16", kind: "count", help: "how many connections one certificate identity may have", take: count(func(s *Settings) *int { return &s.Limits.ConnectionsPerIdentity })},
		{key: "max-handshakes-per-address", fallback: "256", kind: "count", help: "how many TLS handshakes one IP address may have under way", take: count(func(s *Settings) *int { return &s.Limits.HandshakesPerAddress })},
		{key: "max-connections", fallback: "16384", kind: "count", help: "how many connections there may be in all; one more is closed", take: count(func(s *Settings) *int { return &s.Limits.Connections })},
		{key: "max-header-bytes", fallback: "16KiB", kind: "size", help: "how large the header list of a call may be", take: size(func(s *Settings) *uint32 { return &s.Limits.HeaderBytes })},
		{key: "max-message-bytes", fallback: "256KiB", kind: "size", help: "how large one message may be", take: size(func(s *Settings) *int { return &s.Limits.MessageBytes })},
		{key: "handshake-timeout", fallback: "5s", kind: "duration", help: "how long TLS handshake and HTTP/2 preface may take together", take: duration(time.Millisecond, of(func(l *server.Limits) *time.Duration { return &l.Handshake }))},
		{key: "unary-timeout", fallback: "10s", kind: "duration", help: "how long a call that is no stream may take", take: duration(time.Millisecond, of(func(l *server.Limits) *time.Duration { return &l.Unary }))},
		{key: "stall-timeout", fallback: "5s", kind: "duration", help: "how long a client may leave the end of a stream untaken", take: duration(time.Second, of(func(l *server.Limits) *time.Duration { return &l.Stall }))},
		{key: "keepalive", fallback: "1m", kind: "duration", help: "how long a connection may be silent before it is probed", take: duration(time.Second, of(func(l *server.Limits) *time.Duration { return &l.Keepalive }))},
		{key: "keepalive-timeout", fallback: "20s", kind: "duration", help: "how long the answer to a probe may take", take: duration(time.Second, of(func(l *server.Limits) *time.Duration { return &l.KeepaliveTimeout }))},
		{key: "min-ping", fallback: "10s", kind: "duration", help: "the least time between a client's own probes", take: duration(time.Second, of(func(l *server.Limits) *time.Duration { return &l.MinPing }))},
		{key: "idle-timeout", fallback: "15m", kind: "duration", help: "how long a connection may be without a call", take: duration(time.Second, of(func(l *server.Limits) *time.Duration { return &l.Idle }))},
	}
}
