package daemon

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"securechat/cmd/chatd/internal/settings"
	"securechat/server/room/jetstream"
)

// A cluster that says that it has no leader is asked again; what is wrong with it
// otherwise is said at once.
func TestAClusterWithoutALeaderIsWaitedFor(t *testing.T) {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(20 * time.Second) {
		t.Fatal("the server does not start")
	}
	nc, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	// It answers as a cluster would.
	const leaderless = `{"error":{"code":503,"err_code":10008,"description":"JetStream system temporarily unavailable"}}`
	const disabled = `{"error":{"code":503,"err_code":10039,"description":"JetStream not enabled for account"}}`
	answers := make(chan string, 3)
	answers <- leaderless
	answers <- leaderless
	answers <- disabled
	if _, err := nc.Subscribe("$JS.API.STREAM.INFO.CHAT", func(m *nats.Msg) { _ = m.Respond([]byte(<-answers)) }); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	log, err := connect(settings.Settings{NATS: []string{s.ClientURL()}, NATSReplicas: 1}, jetstream.Retention{}, slog.New(slog.DiscardHandler))
	if err == nil {
		_ = log.Close()
		t.Fatal("it was opened")
	}
	if len(answers) > 0 || !strings.Contains(err.Error(), "not enabled") {
		t.Errorf("with %d answers left it gave up: %v", len(answers), err)
	}
}
