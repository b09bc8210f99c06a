package daemon

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"securechat/auth"
	"securechat/certs"
	"securechat/server"
	"securechat/server/room"
)

// parts are what the service is made of.
type parts struct {
	source *certs.FileSource
	keys   auth.KeyFeed
	policy *certs.Following // of rooms; nil: there is none
	// log keeps the rooms; nil: there are none. Its cluster is those who share it;
	// nil: nobody does.
	log     room.Log
	cluster room.Cluster
	server  *server.Server
}

// assemble makes the service. withRooms is false for a check, which must not open
// a log that a running service has open. With ctx ends the wait for a cluster.
func assemble(ctx context.Context, config Config, withRooms bool) (p *parts, err error) {
	p = &parts{}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	s := config.Settings
	if p.source, err = openCertificates(s, config.Log); err != nil {
		return p, err
	}
	if p.keys, err = openKeys(s, config.Log); err != nil {
		return p, err
	}
	verifier, err := auth.NewVerifier(auth.VerifierConfig{
		Issuers:     []auth.Issuer{{Name: s.Issuer, Audience: s.Audience, Keys: p.keys, Algorithms: s.Algorithms}},
		MaxLifetime: s.MaxTokenLifetime,
	})
	if err != nil {
		return p, err
	}
	if withRooms {
		if p.log, p.cluster, err = openLog(ctx, s, config.Log); err != nil {
			return p, err
		}
	}
	p.server, err = server.New(server.Config{
		Certificates: p.source,
		Tokens:       verifier,
		Bind:         s.Bind,
		Identity:     s.Identity,
		TrustDomain:  s.TrustDomain,
		MaxSession:   s.MaxSession,
		Rooms:        p.rooms(s),
		Limits:       s.Limits,
		Log:          config.Log,
		Tracing:      config.Telemetry.Tracing,
		Metrics:      config.Telemetry.Metrics,
	})
	if err == nil && s.Policy != "" {
		p.policy, err = followPolicy(s.Policy, p.server, config.Log)
	}
	return p, err
}

// close ends what assemble has begun, the server's rooms before their log. A server
// that was serving has been shut down by then.
func (p *parts) close() {
	if p.server != nil {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		p.server.Shutdown(ctx)
	}
	if p.log != nil {
		_ = p.log.Close() // what was acknowledged is on disk already
	}
	if p.source != nil {
		_ = p.source.Close() // never fails
	}
	if p.keys != nil {
		_ = p.keys.Close() // never fails
	}
	if p.policy != nil {
		_ = p.policy.Close() // never fails
	}
}

// warn logs a certificate that no client will accept. The service starts all the
// same: the file can be replaced while it runs.
func (p *parts) warn(log *slog.Logger) {
	if err := p.usableCertificate(); err != nil {
		log.Error("clients will not accept this server", slog.Any("error", err))
	}
}

func (p *parts) usableCertificate() error {
	leaf := p.source.Material().Certificate().Leaf
	now := time.Now()
	problem := ""
	switch {
	case now.After(leaf.NotAfter):
		problem = "expired at " + leaf.NotAfter.UTC().Format(time.RFC3339)
	case now.Before(leaf.NotBefore):
		problem = "is not valid before " + leaf.NotBefore.UTC().Format(time.RFC3339)
	case len(leaf.DNSNames)+len(leaf.IPAddresses) == 0:
		problem = "names no host: its subject alternative names must have the DNS names or IP addresses that clients dial"
	case !slices.ContainsFunc(leaf.ExtKeyUsage, servesTLS) && len(leaf.ExtKeyUsage)+len(leaf.UnknownExtKeyUsage) > 0:
		problem = "is not for servers: it lacks the extended key usage serverAuth"
	default:
		return nil
	}
	return fmt.Errorf("the server's certificate (--tls-cert) %s: install another", problem)
}

func servesTLS(usage x509.ExtKeyUsage) bool {
	return usage == x509.ExtKeyUsageServerAuth || usage == x509.ExtKeyUsageAny
}

// reachableKeys asks for a key that does not exist: the answer tells a key set
// that is there from one that cannot be had.
func (p *parts) reachableKeys(ctx context.Context) error {
	_, err := p.keys.Key(ctx, "")
	if reason, ok := auth.ReasonOf(err); ok && reason == auth.TokenKeyUnknown {
		return nil
	}
	if err == nil {
		err = errors.New("it has a key without a name")
	}
	return fmt.Errorf("the key set (--jwks) cannot be had: %w", err)
}
