package auth

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"securechat/certs"
)

// Bind says what ties a token to the certificate it came with. There is no mode
// without a tie.
type Bind int

const (
	// BindCertificate asks that the token's cnf x5t#S256 is the SHA-256 of the
	// presented certificate (RFC 8705 section 3.1), and that the subject is the
	// user the certificate names, where it names one.
	BindCertificate Bind = iota
	// BindSubject asks that the subject is the identity in the certificate. It
	// is for issuers that cannot bind a token to a certificate. A token that is
	// bound to another certificate is refused all the same.
	BindSubject
)

// A TokenVerifier verifies a compact JWS and returns its claims, or a *Refusal.
// *Verifier is one. It may be called concurrently.
type TokenVerifier interface {
	Verify(ctx context.Context, token string) (*Claims, error)
}

// Config is all that a Guard needs to know.
type Config struct {
	// Certificates has the roots and revocations that callers' certificates are
	// held against whenever a call begins. Required. It should be the source of
	// the server's transport credentials.
	Certificates certs.Source
	// Tokens verifies bearer tokens. Required unless every rule of the policy
	// is CertificateOnly.
	Tokens TokenVerifier
	// Policy lists who may call what. Required: an empty one refuses all.
	Policy Policy
	// Bind is what ties a token to a certificate; by default BindCertificate.
	Bind Bind
	// Identity is the kind of SAN that identifies a caller; by default the URI.
	Identity certs.Kind
	// TrustDomain is the only SPIFFE trust domain accepted; empty accepts any
	// that the roots vouch for.
	TrustDomain string
	// MaxSession is how long a stream may live however often its token is
	// refreshed; 0 sets no bound.
	MaxSession time.Duration
	// Now is the clock; by default time.Now.
	Now func() time.Time
	// Log has what no caller waits for any more, such as a panic in a handler
	// whose stream had been cut; by default slog.Default().
	Log *slog.Logger
}

// A Guard knows who is calling, whether they may, and for how long. Its steps
// are interceptors for any gRPC service. A Guard may be used concurrently.
type Guard struct {
	config     Config
	policy     atomic.Pointer[Policy]
	supervisor *supervisor
}

// New returns the guard that config describes.
func New(config Config) (*Guard, error) {
	if config.Certificates == nil {
		return nil, errors.New("auth: Config.Certificates is missing: without roots and revocations no certificate can be judged")
	}
	if config.Bind != BindCertificate && config.Bind != BindSubject {
		return nil, errors.New("auth: Config.Bind must be BindCertificate or BindSubject")
	}
	needsToken := func(r Rule) bool { return !r.certificateOnly }
	if config.Tokens == nil && slices.ContainsFunc(slices.Collect(maps.Values(config.Policy)), needsToken) {
		return nil, errors.New("auth: Config.Tokens is missing and the policy has methods that ask for a token")
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Log == nil {
		config.Log = slog.Default()
	}
	if config.MaxSession < 0 {
		return nil, errors.New("auth: Config.MaxSession is negative")
	}
	g := &Guard{config: config}
	g.supervisor = newSupervisor(g)
	g.SetPolicy(config.Policy)
	return g, nil
}

// ServerOptions puts the whole guard in front of a server: authenticate,
// authorise, supervise, then the steps given, such as Stamp. The server still
// needs transport credentials (certs.ServerCredentials). Its Stop and
// GracefulStop wait for the interceptors (grpc.WaitForHandlers), as Wait needs.
func (g *Guard) ServerOptions(then ...Interceptor) []grpc.ServerOption {
	steps := append([]Interceptor{g.Authenticate(), g.Authorise(), g.Supervise()}, then...)
	return append(Chain(steps...), grpc.UnknownServiceHandler(Unlisted), grpc.WaitForHandlers(true))
}

// Unlisted is a handler for grpc.UnknownServiceHandler. It is there so that
// calls of unknown methods pass the interceptors, and are refused by them;
// without one grpc-go answers such calls before any interceptor runs.
func Unlisted(any, grpc.ServerStream) error {
	return Refusef(MethodDenied, "the method is not registered")
}

// SetPolicy puts another policy in force, for new calls and for live streams.
func (g *Guard) SetPolicy(policy Policy) {
	copied := maps.Clone(policy)
	g.policy.Store(&copied)
}

// Covers returns an error unless the policy names exactly the methods that are
// registered on server. Call it after registering, by way of Registrar, and
// before serving.
func (g *Guard) Covers(server interface {
	GetServiceInfo() map[string]grpc.ServiceInfo
}) error {
	return g.policy.Load().Covers(server.GetServiceInfo())
}

// Authenticate is the step that verifies the caller: peer certificate and
// bearer token become one Identity in the context.
func (g *Guard) Authenticate() Interceptor { return Check(g.authenticate).Interceptor() }

// Authorise is the step that holds the verified caller against the policy.
func (g *Guard) Authorise() Interceptor { return Check(g.authorise).Interceptor() }

// Wait returns when every handler of a stream has returned, those whose stream
// was cut among them, and nothing of the guard runs any more. Call it after the
// server has stopped: with the guard's ServerOptions, or grpc.WaitForHandlers of
// your own, no handler begins any more by then.
func (g *Guard) Wait() { g.supervisor.wait() }

func (g *Guard) authorise(ctx context.Context, method string) (context.Context, error) {
	rule, listed := (*g.policy.Load())[method]
	if !listed {
		return nil, Refusef(MethodDenied, "the policy has no rule for %.200q", method)
	}
	id, ok := FromContext(ctx)
	if !ok {
		return nil, errUnverified
	}
	if refusal := rule.allow(ctx, id); refusal != nil {
		return nil, refusal
	}
	return ctx, nil
}
