package daemon

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"securechat/auth"
	"securechat/certs"
	"securechat/cmd/chatd/internal/settings"
	"securechat/server"
)

const policyFeed = "policy"

func openCertificates(s settings.Settings, log *slog.Logger) (*certs.FileSource, error) {
	options := []certs.FileOption{certs.WithLogger(log)}
	if s.StrictFeeds {
		options = append(options, certs.WithStrictCRLs())
	}
	return certs.Files(certs.Paths{
		Certificate: s.TLSCert, Key: s.TLSKey, Roots: s.ClientCA, CRL: s.CRL, Revocations: s.Revocations,
	}, options...)
}

func openKeys(s settings.Settings, log *slog.Logger) (auth.KeyFeed, error) {
	options := []auth.KeyOption{auth.KeyLogger(log), auth.KeyMaxAge(s.JWKSMaxAge)}
	if s.StrictFeeds {
		options = append(options, auth.KeyStrict())
	}
	if s.JWKSCA != "" {
		roots, err := certs.LoadCertificates(s.JWKSCA)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		for _, root := range roots {
			pool.AddCert(root)
		}
		options = append(options, auth.KeyRoots(pool))
	}
	keys, err := auth.Keys(s.JWKS, options...)
	if err != nil {
		return nil, fmt.Errorf("--jwks: %w", err)
	}
	return keys, nil
}

// followPolicy keeps the server's room policy as the file has it.
func followPolicy(path string, to *server.Server, log *slog.Logger) (*certs.Following, error) {
	first := true
	take := func(text []byte) error {
		policy, err := server.ParseRoomPolicy(text)
		if err != nil {
			return err
		}
		to.SetRoomPolicy(policy)
		if !first {
			log.Info("room policy replaced", slog.String("file", path), slog.Any("policy", policy))
		}
		first = false
		return nil
	}
	return certs.Follow(certs.File{Name: "room policy", Path: path, Lines: true, Take: take, Logger: log})
}

// reload reads every feed now, and returns all that is wrong with them.
func (p *parts) reload(ctx context.Context) error {
	problems := []error{p.source.Reload()}
	if p.policy != nil {
		problems = append(problems, p.policy.Reload())
	}
	return errors.Join(append(problems, p.keys.Reload(ctx))...)
}

// feeds returns what has become of every feed.
func (p *parts) feeds() []certs.FeedState {
	states := append(p.source.Feeds(), p.keys.State())
	if p.policy != nil {
		state := p.policy.State()
		state.Name = policyFeed
		states = append(states, state)
	}
	return states
}

// observe shows what has become of every feed.
func (p *parts) observe(metrics metric.MeterProvider) error {
	meter := metrics.Meter("securechat/chatd")
	age, err := meter.Float64ObservableGauge("securechat.feed.age", metric.WithUnit("s"),
		metric.WithDescription("Seconds since what is in force of a feed was last loaded or fetched."))
	if err != nil {
		return err
	}
	expiry, err := meter.Float64ObservableGauge("securechat.feed.expiry", metric.WithUnit("s"),
		metric.WithDescription("Seconds until the first part of a feed expires, is due, or is too old; negative once that is past."))
	if err != nil {
		return err
	}
	loads, err := meter.Int64ObservableCounter("securechat.feed.loads", metric.WithUnit("{load}"),
		metric.WithDescription("Loads of a feed, the first included, by result: ok, or broken and not put in force."))
	if err != nil {
		return err
	}
	_, err = meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		now := time.Now()
		for _, feed := range p.feeds() {
			name := attribute.String("feed", feed.Name)
			o.ObserveInt64(loads, int64(feed.Good), metric.WithAttributes(name, attribute.String("result", "ok")))
			o.ObserveInt64(loads, int64(feed.Broken), metric.WithAttributes(name, attribute.String("result", "broken")))
			if !feed.Loaded.IsZero() {
				o.ObserveFloat64(age, now.Sub(feed.Loaded).Seconds(), metric.WithAttributes(name))
			}
			if !feed.Expires.IsZero() {
				o.ObserveFloat64(expiry, feed.Expires.Sub(now).Seconds(), metric.WithAttributes(name))
			}
		}
		return nil
	}, age, expiry, loads)
	return err
}
