package auth

import "google.golang.org/grpc/codes"

// A Reason is the reason of a google.rpc.ErrorInfo. The list below is all there
// is, and docs/errors.md has it for those who write no Go: programs may switch
// on it.
type Reason string

// Why a caller is not who it says (UNAUTHENTICATED).
const (
	CertificateMissing   Reason = "CERTIFICATE_MISSING"
	CertificateInvalid   Reason = "CERTIFICATE_INVALID"
	CertificateExpired   Reason = "CERTIFICATE_EXPIRED"
	CertificateRevoked   Reason = "CERTIFICATE_REVOKED"
	CertificateUntrusted Reason = "CERTIFICATE_UNTRUSTED"

	TokenMissing     Reason = "TOKEN_MISSING"
	TokenAmbiguous   Reason = "TOKEN_AMBIGUOUS"
	TokenScheme      Reason = "TOKEN_SCHEME"
	TokenTooLarge    Reason = "TOKEN_TOO_LARGE"
	TokenMalformed   Reason = "TOKEN_MALFORMED"
	TokenType        Reason = "TOKEN_TYPE"
	TokenAlgorithm   Reason = "TOKEN_ALGORITHM"
	TokenCritical    Reason = "TOKEN_CRITICAL"
	TokenKeyUnknown  Reason = "TOKEN_KEY_UNKNOWN"
	TokenKeyRetired  Reason = "TOKEN_KEY_RETIRED"
	TokenSignature   Reason = "TOKEN_SIGNATURE"
	TokenIssuer      Reason = "TOKEN_ISSUER"
	TokenAudience    Reason = "TOKEN_AUDIENCE"
	TokenExpired     Reason = "TOKEN_EXPIRED"
	TokenNotYetValid Reason = "TOKEN_NOT_YET_VALID"
	TokenLifetime    Reason = "TOKEN_LIFETIME"
	TokenSubject     Reason = "TOKEN_SUBJECT"
	TokenUnbound     Reason = "TOKEN_UNBOUND"
	TokenBinding     Reason = "TOKEN_BINDING"
	TokenRevoked     Reason = "TOKEN_REVOKED"

	SessionExpired Reason = "SESSION_EXPIRED"
)

// Why a known caller may not (PERMISSION_DENIED).
const (
	MethodDenied Reason = "METHOD_DENIED"
	ScopeMissing Reason = "SCOPE_MISSING"
	RoomDenied   Reason = "ROOM_DENIED"
	Expelled     Reason = "EXPELLED"
)

// HandshakeFailed counts connections that end in the TLS handshake for another
// reason than their certificate. Callers get a TLS alert instead of a status.
const HandshakeFailed Reason = "HANDSHAKE_FAILED"

// Why a call that is allowed can't be served.
const (
	TooManyStreams     Reason = "TOO_MANY_STREAMS"
	TooManyConnections Reason = "TOO_MANY_CONNECTIONS"
	MessageTooLarge    Reason = "MESSAGE_TOO_LARGE"
	MessageInvalid     Reason = "MESSAGE_INVALID"
	MessageCompressed  Reason = "MESSAGE_COMPRESSED"
	KeysUnavailable    Reason = "KEYS_UNAVAILABLE"
	LogUnavailable     Reason = "LOG_UNAVAILABLE"
	RoomInvalid        Reason = "ROOM_INVALID"
	CursorInvalid      Reason = "CURSOR_INVALID"
	CursorGone         Reason = "CURSOR_GONE"
	SlowConsumer       Reason = "SLOW_CONSUMER"
	Draining           Reason = "DRAINING"
	Internal           Reason = "INTERNAL"
)

type rule struct {
	code codes.Code
	text string
}

var rules = map[Reason]rule{
	CertificateMissing:   {codes.Unauthenticated, "present a client certificate"},
	CertificateInvalid:   {codes.Unauthenticated, "the certificate cannot identify a user: it must be an end-entity certificate for client authentication with exactly one identity"},
	CertificateExpired:   {codes.Unauthenticated, "the certificate or one of its chain is outside its validity: connect with a current one"},
	CertificateRevoked:   {codes.Unauthenticated, "the certificate is revoked: obtain a new one"},
	CertificateUntrusted: {codes.Unauthenticated, "the certificate's authority is no longer trusted: obtain a certificate from a current one"},

	TokenMissing:     {codes.Unauthenticated, "send a token: authorization: Bearer <JWT>"},
	TokenAmbiguous:   {codes.Unauthenticated, "send exactly one authorization value"},
	TokenScheme:      {codes.Unauthenticated, "the authorization scheme must be Bearer"},
	TokenTooLarge:    {codes.Unauthenticated, "the token is larger than 8 KiB: obtain a smaller one"},
	TokenMalformed:   {codes.Unauthenticated, "the token is not a well-formed compact JWS with the required claims: obtain a new one"},
	TokenType:        {codes.Unauthenticated, "the token's typ must be JWT or at+jwt"},
	TokenAlgorithm:   {codes.Unauthenticated, "the token's algorithm is not accepted here"},
	TokenCritical:    {codes.Unauthenticated, "the token has critical header parameters, which are not accepted here"},
	TokenKeyUnknown:  {codes.Unauthenticated, "the token's key is not one of its issuer's: obtain a new token"},
	TokenKeyRetired:  {codes.Unauthenticated, "the token's key has been retired: obtain a new token"},
	TokenSignature:   {codes.Unauthenticated, "the token's signature is not valid"},
	TokenIssuer:      {codes.Unauthenticated, "the token's issuer is not accepted here"},
	TokenAudience:    {codes.Unauthenticated, "the token is meant for another audience"},
	TokenExpired:     {codes.Unauthenticated, "the token has expired: obtain a new one"},
	TokenNotYetValid: {codes.Unauthenticated, "the token is not valid yet: check the clocks"},
	TokenLifetime:    {codes.Unauthenticated, "the token lives longer than is accepted here: obtain a shorter one"},
	TokenSubject:     {codes.Unauthenticated, "the token's subject is not an acceptable user name"},
	TokenUnbound:     {codes.Unauthenticated, "the token is not bound to a certificate: obtain one with cnf x5t#S256"},
	TokenBinding:     {codes.Unauthenticated, "the token belongs to another certificate: use the pair that was issued together"},
	TokenRevoked:     {codes.Unauthenticated, "the token is revoked: obtain a new one"},

	SessionExpired: {codes.Unauthenticated, "the stream has lived as long as streams may here: open another"},

	MethodDenied: {codes.PermissionDenied, "this method is not open to you"},
	ScopeMissing: {codes.PermissionDenied, "the token lacks a scope that this method needs"},
	RoomDenied:   {codes.PermissionDenied, "this room is not open to you"},

	HandshakeFailed: {codes.Unauthenticated, "the TLS handshake failed"},

	Expelled: {codes.PermissionDenied, "you have been removed from here"},

	TooManyStreams:     {codes.ResourceExhausted, "too many streams or calls are open under this identity: end one first"},
	TooManyConnections: {codes.ResourceExhausted, "too many connections are open under this identity: use one connection for many streams"},
	MessageTooLarge:    {codes.ResourceExhausted, "the message is larger than is accepted here: send a smaller one"},
	MessageCompressed:  {codes.Unimplemented, "compressed messages are not accepted here: send them as they are"},
	MessageInvalid:     {codes.InvalidArgument, "the message is not well-formed protobuf of valid UTF-8, or has an id of more than 64 bytes or a kind that clients do not send"},
	KeysUnavailable:    {codes.Unavailable, "the token's keys cannot be had just now: try again"},
	LogUnavailable:     {codes.Unavailable, "messages cannot be stored or read just now: try again, with the same id"},
	RoomInvalid:        {codes.InvalidArgument, "name one room: 1 to 63 of a to z, 0 to 9, _ and -, the first a letter or a digit, or @ and a user's name, percent-encoded"},
	CursorInvalid:      {codes.InvalidArgument, "name one sequence, in decimal, together with a room, and one direction"},
	CursorGone:         {codes.OutOfRange, "messages after that sequence are no longer kept: begin at the one that the error's metadata has as oldest"},
	SlowConsumer:       {codes.ResourceExhausted, "you read more slowly than the room is written: come back from the last sequence that you have"},
	Draining:           {codes.Unavailable, "the server is going down: connect again"},
	Internal:           {codes.Internal, "the server failed; its log has the cause"},
}

// rule treats a reason that is not listed as INTERNAL, so that a slip of ours
// is refused and shows.
func (r Reason) rule() rule {
	if rule, ok := rules[r]; ok {
		return rule
	}
	return rules[Internal]
}

// Code is the gRPC status code that goes with the reason.
func (r Reason) Code() codes.Code { return r.rule().code }
