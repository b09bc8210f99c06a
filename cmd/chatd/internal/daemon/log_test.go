package daemon

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"securechat/cmd/chatd/internal/settings"
	"securechat/server/room/jetstream"
)

// A cluster that says that it has no leader, or not all its servers, is asked again;
// what is wrong with it otherwise is said at once.
func TestAClusterThatIsNotReadyIsWaitedFor(t *testing.T) {
	url, nc := natsWithoutJetStream(t)
	// It answers as a cluster would.
	const leaderless = `{"error":{"code":503,"err_code":10008,"description":"JetStream system temporarily unavailable"}}`
	const disabled = `{"error":{"code":503,"err_code":10039,"description":"JetStream not enabled for account"}}`
	const absent = `{"error":{"code":404,"err_code":10059,"description":"stream not found"}}`
	const few = `{"error":{"code":400,"err_code":10005,"description":"no suitable peers for placement, peer offline"}}`
	answers := make(chan string, 6)
	for _, answer := range []string{leaderless, absent, few, absent, leaderless, disabled} {
		answers <- answer
	}
	onQuestion(t, nc, func(m *nats.Msg) { _ = m.Respond([]byte(<-answers)) })
	var logged strings.Builder
	log, err := connect(t.Context(), settings.Settings{NATS: []string{url}, NATSReplicas: 1}, jetstream.Retention{}, slog.New(slog.NewTextHandler(&logged, nil)))
	if err == nil {
		_ = log.Close()
		t.Fatal("it was opened")
	}
	if len(answers) > 0 || !strings.Contains(err.Error(), "not enabled") {
		t.Errorf("with %d answers left it gave up: %v", len(answers), err)
	}
	if times := strings.Count(logged.String(), "not ready yet"); times != 1 {
		t.Errorf("the log says %d times that the cluster is not ready, want once: %s", times, &logged)
	}
}

// A service that is told to end while it waits for a cluster does not wait on.
func TestWaitingForAClusterEnds(t *testing.T) {
	url, nc := natsWithoutJetStream(t)
	ctx, cancel := context.WithCancel(t.Context())
	var asked atomic.Int64
	onQuestion(t, nc, func(*nats.Msg) { asked.Add(1); cancel() }) // and nothing, as a cluster that has no leader
	log, err := connect(ctx, settings.Settings{NATS: []string{url}, NATSReplicas: 1}, jetstream.Retention{}, slog.New(slog.DiscardHandler))
	if err == nil {
		_ = log.Close()
		t.Fatal("it was opened")
	}
	_ = nc.Drain()
	if !errors.Is(err, context.Canceled) || asked.Load() != 1 {
		t.Errorf("after %d questions it ended with %v, want one, and that it was cancelled", asked.Load(), err)
	}
}

// startNATS starts a server on loopback, until the test ends.
func startNATS(t *testing.T, options *server.Options) *server.Server {
	t.Helper()
	options.Host, options.NoSigs, options.NoLog = "127.0.0.1", true, true
	s, err := server.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(20 * time.Second) {
		t.Fatal("the server does not start")
	}
	return s
}

func natsWithoutJetStream(t *testing.T) (url string, nc *nats.Conn) {
	t.Helper()
	s := startNATS(t, &server.Options{Port: server.RANDOM_PORT})
	nc, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return s.ClientURL(), nc
}

// onQuestion has questions about the stream answered.
func onQuestion(t *testing.T, nc *nats.Conn, by nats.MsgHandler) {
	t.Helper()
	for _, question := range []string{"$JS.API.STREAM.INFO.CHAT", "$JS.API.STREAM.CREATE.CHAT"} {
		if _, err := nc.Subscribe(question, by); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
}

// What is acknowledged is on disk, unless the settings say that it need not be.
func TestWhenMessagesAreOnDisk(t *testing.T) {
	for fsync, want := range map[settings.Fsync]time.Duration{
		settings.Defaults().Fsync: 0,
		settings.FsyncAlways:      0,
		settings.FsyncInterval:    time.Second,
	} {
		config := embedded(settings.Settings{Data: "rooms", Fsync: fsync}, jetstream.Retention{}, nil)
		if config.SyncInterval != want || config.Dir != "rooms" {
			t.Errorf("%s: %q is synced every %v, want %v", fsync, config.Dir, config.SyncInterval, want)
		}
	}
}

// Time that goes by before a server is reached, as where others of --nats are down, is
// not the cluster's.
func TestServersThatAreSlowToReachAreReached(t *testing.T) {
	t.Parallel()
	s := startNATS(t, &server.Options{Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir()})
	url := "nats://" + slowToReach(t, s.Addr().String(), answerNATS/3+100*time.Millisecond)
	var logged strings.Builder
	log, err := connect(t.Context(), settings.Settings{NATS: []string{url}, NATSReplicas: 1}, jetstream.Retention{}, slog.New(slog.NewTextHandler(&logged, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil || strings.Contains(logged.String(), "not ready") {
		t.Errorf("closed: %v; logged: %s", err, &logged)
	}
}

// slowToReach returns the address by which a server is reached once a while has gone by.
func slowToReach(t *testing.T, server string, after time.Duration) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() { listener.Close(); all.Wait() })
	all.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer client.Close()
				<-time.After(after)
				there, err := net.Dial("tcp", server)
				if err != nil {
					return
				}
				defer there.Close()
				all.Go(func() { _, _ = io.Copy(there, client); _ = there.Close() })
				_, _ = io.Copy(client, there)
			})
		}
	})
	return listener.Addr().String()
}
