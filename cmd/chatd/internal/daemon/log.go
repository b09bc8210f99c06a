package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"securechat/cmd/chatd/internal/settings"
	"securechat/server"
	"securechat/server/room"
	"securechat/server/room/jetstream"
)

const (
	// reachNATS is how long a cluster may take to answer when the service starts, and
	// answerNATS how long one attempt waits for that once a server is reached.
	reachNATS  = 30 * time.Second
	answerNATS = 3 * time.Second
	// retryNATS is the pause between attempts.
	retryNATS = 200 * time.Millisecond
	// syncInterval is that of settings.FsyncInterval.
	syncInterval = time.Second
)

// openLog opens the log that the settings name. log is nil where they name none,
// and cluster where nobody else shares it. The caller closes the log. That ctx ends
// ends the wait for a cluster.
func openLog(ctx context.Context, s settings.Settings, logger *slog.Logger) (log room.Log, cluster room.Cluster, err error) {
	keep := jetstream.Retention{MaxAge: s.HistoryAge, MaxPerRoom: int64(s.HistoryCount)}
	switch {
	case len(s.NATS) > 0:
		shared, err := connect(ctx, s, keep, logger)
		if err != nil {
			return nil, nil, fmt.Errorf("--nats: %w", err)
		}
		return shared, shared, nil
	case s.Data != "":
		local, err := jetstream.Embedded(embedded(s, keep, logger))
		if err != nil {
			return nil, nil, fmt.Errorf("--data: %w", err)
		}
		return local, nil, nil
	default:
		return nil, nil, nil
	}
}

func embedded(s settings.Settings, keep jetstream.Retention, logger *slog.Logger) jetstream.EmbeddedConfig {
	config := jetstream.EmbeddedConfig{Dir: s.Data, Keep: keep, Logger: logger}
	if s.Fsync == settings.FsyncInterval {
		config.SyncInterval = syncInterval
	}
	return config
}

func connect(ctx context.Context, s settings.Settings, keep jetstream.Retention, logger *slog.Logger) (*jetstream.Shared, error) {
	trust, err := natsTLS(s, logger)
	if err != nil {
		return nil, err
	}
	// A cluster that starts together with this service has no leader yet: it lets what
	// it is asked go unanswered, or says so after half a second. Nor does a new leader
	// know of the other servers at once.
	began, waiting := time.Now(), false
	for {
		shared, err := jetstream.Connect(ctx, jetstream.ConnectConfig{
			URLs: s.NATS, TLS: trust.config, Roots: trust.roots,
			Credentials: s.NATSCredentials, Replicas: s.NATSReplicas, Keep: keep, Within: answerNATS, Logger: logger,
		})
		forming := errors.Is(err, context.DeadlineExceeded) || errors.Is(err, jetstream.ErrNotReady)
		if !forming || ctx.Err() != nil || time.Since(began) > reachNATS {
			return shared, err
		}
		if !waiting {
			logger.Warn("the NATS cluster is not ready yet: it is asked again and again", slog.Duration("for", reachNATS), slog.Any("error", err))
		}
		waiting = true
		select {
		case <-time.After(retryNATS):
		case <-ctx.Done():
		}
	}
}

// rooms is what the server is told of the log.
func (p *parts) rooms(s settings.Settings) server.Rooms {
	return server.Rooms{Log: p.log, Cluster: p.cluster, MessagesPerSecond: s.MaxMessageRate}
}
