package daemon

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"securechat/certs"
	"securechat/cmd/chatd/internal/settings"
)

// maxCredentials is how large a file of NATS credentials may be.
const maxCredentials = 64 << 10

// natsTrust is how this service and the servers of --nats know each other. Config is
// nil where there is nothing to be known: on loopback. Roots is nil for the system's.
type natsTrust struct {
	config *tls.Config
	roots  func() (*x509.CertPool, error)
}

// natsTLS reads the files that say so. The authorities and the pair are read again
// for each connection, so that they can be replaced.
func natsTLS(s settings.Settings, log *slog.Logger) (trust natsTrust, err error) {
	if s.NATSCredentials != "" {
		if _, err := certs.ReadSecret(s.NATSCredentials, maxCredentials); err != nil {
			return natsTrust{}, fmt.Errorf("credentials file %s: %w", s.NATSCredentials, err)
		}
	}
	encrypted := slices.ContainsFunc(s.NATS, func(url string) bool { return strings.HasPrefix(url, "tls:") })
	if !encrypted && s.NATSCA == "" && s.NATSCert == "" {
		return natsTrust{}, nil
	}
	trust.config = &tls.Config{MinVersion: tls.VersionTLS13}
	if s.NATSCA != "" {
		roots := &latest[*x509.CertPool]{what: "--nats-ca", log: log, read: func() (*x509.CertPool, error) { return readPool(s.NATSCA) }}
		if err := roots.first(); err != nil {
			return natsTrust{}, err
		}
		trust.roots = func() (*x509.CertPool, error) { return roots.get(), nil }
	}
	if s.NATSCert != "" {
		pair := &latest[*tls.Certificate]{what: "--nats-cert", log: log, read: func() (*tls.Certificate, error) {
			return certs.LoadKeyPair(s.NATSCert, s.NATSKey)
		}}
		if err := pair.first(); err != nil {
			return natsTrust{}, err
		}
		trust.config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return pair.get(), nil
		}
	}
	return trust, nil
}

func readPool(path string) (*x509.CertPool, error) {
	roots, err := certs.LoadCertificates(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	for _, root := range roots {
		pool.AddCert(root)
	}
	return pool, nil
}

// latest is what files say now or, while they are broken, said last. It may be used
// concurrently.
type latest[T any] struct {
	what string // the setting that names the files
	read func() (T, error)
	log  *slog.Logger

	mu     sync.Mutex
	good   T
	broken bool // and that has been logged
}

// first reads the files, which must be good.
func (l *latest[T]) first() (err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.good, err = l.read()
	return err
}

// get reads the files again. It comes after first.
func (l *latest[T]) get() T {
	l.mu.Lock()
	defer l.mu.Unlock()
	value, err := l.read()
	if err == nil {
		l.good = value
	} else if !l.broken {
		l.log.Error(l.what+" not replaced: the last good one stays in force", slog.Any("error", err))
	}
	l.broken = err != nil
	return l.good
}
