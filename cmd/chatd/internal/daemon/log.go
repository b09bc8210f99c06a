package daemon

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"securechat/certs"
	"securechat/cmd/chatd/internal/settings"
	"securechat/server"
	"securechat/server/room"
	"securechat/server/room/jetstream"
)

const (
	// reachNATS is how long a cluster may take to answer when the service starts, and
	// answerNATS how long one attempt waits.
	reachNATS  = 30 * time.Second
	answerNATS = 3 * time.Second
	// syncInterval is that of settings.FsyncInterval.
	syncInterval = time.Second
	// maxCredentials is how large a file of NATS credentials may be.
	maxCredentials = 64 << 10
)

// openLog opens the log that the settings name. log is nil where they name none,
// and cluster where nobody else shares it. The caller closes the log.
func openLog(s settings.Settings, logger *slog.Logger) (log room.Log, cluster room.Cluster, err error) {
	keep := jetstream.Retention{MaxAge: s.HistoryAge, MaxPerRoom: int64(s.HistoryCount)}
	switch {
	case len(s.NATS) > 0:
		shared, err := connect(s, keep, logger)
		if err != nil {
			return nil, nil, fmt.Errorf("--nats: %w", err)
		}
		return shared, shared, nil
	case s.Data != "":
		config := jetstream.EmbeddedConfig{Dir: s.Data, Keep: keep, Logger: logger}
		if s.Fsync == settings.FsyncInterval {
			config.SyncInterval = syncInterval
		}
		local, err := jetstream.Embedded(config)
		if err != nil {
			return nil, nil, fmt.Errorf("--data: %w", err)
		}
		return local, nil, nil
	default:
		return nil, nil, nil
	}
}

func connect(s settings.Settings, keep jetstream.Retention, logger *slog.Logger) (*jetstream.Shared, error) {
	config, err := natsTLS(s)
	if err != nil {
		return nil, err
	}
	// A cluster that starts together with this service has no leader yet, and lets
	// what it is asked go unanswered.
	began := time.Now()
	for {
		shared, err := connectOnce(jetstream.ConnectConfig{
			URLs: s.NATS, TLS: config, Credentials: s.NATSCredentials, Replicas: s.NATSReplicas, Keep: keep, Logger: logger,
		})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > reachNATS {
			return shared, err
		}
		logger.Warn("the NATS cluster does not answer yet", slog.Any("error", err))
	}
}

func connectOnce(config jetstream.ConnectConfig) (*jetstream.Shared, error) {
	ctx, cancel := context.WithTimeout(context.Background(), answerNATS)
	defer cancel()
	return jetstream.Connect(ctx, config)
}

// natsTLS reads the files by which this service and the servers of --nats know each
// other. It returns nil where there is nothing to be known: on loopback.
func natsTLS(s settings.Settings) (*tls.Config, error) {
	if s.NATSCredentials != "" {
		if _, err := certs.ReadSecret(s.NATSCredentials, maxCredentials); err != nil {
			return nil, err
		}
	}
	encrypted := slices.ContainsFunc(s.NATS, func(url string) bool { return strings.HasPrefix(url, "tls:") })
	if !encrypted && s.NATSCA == "" && s.NATSCert == "" {
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS13}
	if s.NATSCA != "" {
		roots, err := certs.LoadCertificates(s.NATSCA)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		for _, root := range roots {
			config.RootCAs.AddCert(root)
		}
	}
	if s.NATSCert != "" {
		if _, err := certs.LoadKeyPair(s.NATSCert, s.NATSKey); err != nil {
			return nil, err
		}
		// Read again for each connection, so that it can be replaced.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return certs.LoadKeyPair(s.NATSCert, s.NATSKey)
		}
	}
	return config, nil
}

// rooms is what the server is told of the log.
func (p *parts) rooms(s settings.Settings) server.Rooms {
	return server.Rooms{Log: p.log, Cluster: p.cluster, MessagesPerSecond: s.MaxMessageRate}
}
