package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"securechat/certs"
	"securechat/cmd/chatd/internal/settings"
	"securechat/server/room/jetstream"
)

// The file of --nats-ca may be replaced while a connection stands: the next one heeds
// it, and a broken replacement changes nothing.
func TestTheAuthoritiesOfNATSAreReplaced(t *testing.T) {
	dir, ca := t.TempDir(), filepath.Join(t.TempDir(), "nats-ca.crt")
	var pairs []tls.Certificate
	var roots [][]byte
	for range 2 {
		authority, err := certs.NewCA(certs.CAOptions{})
		if err != nil {
			t.Fatal(err)
		}
		issued, err := authority.IssueServer([]string{"127.0.0.1"}, certs.IssueOptions{})
		if err != nil {
			t.Fatal(err)
		}
		pairs, roots = append(pairs, issued.TLS()), append(roots, authority.CertificatePEM())
	}
	port := server.RANDOM_PORT
	begin := func(pair tls.Certificate) *server.Server {
		s := startNATS(t, &server.Options{
			Port: port, JetStream: true, StoreDir: dir,
			TLS: true, TLSConfig: &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}}, TLSTimeout: 5,
		})
		port = s.Addr().(*net.TCPAddr).Port
		return s
	}
	write := func(text []byte) {
		if err := os.WriteFile(ca, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(roots[0])
	s := begin(pairs[0])
	log, err := connect(t.Context(), settings.Settings{NATS: []string{"tls://" + s.Addr().String()}, NATSCA: ca, NATSReplicas: 1},
		jetstream.Retention{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	for _, step := range []struct {
		name    string
		roots   []byte
		pair    tls.Certificate
		trusted bool
	}{
		{"a broken file", []byte("-----BEGIN CERTIFICATE-----"), pairs[0], true},
		{"a server of others", roots[0], pairs[1], false},
		{"these others", roots[1], pairs[1], true},
	} {
		write(step.roots)
		s.Shutdown()
		s.WaitForShutdown()
		s = begin(step.pair)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		if !step.trusted {
			cancel()
			ctx, cancel = context.WithTimeout(t.Context(), 2*time.Second) // several attempts
		}
		_, err := log.Newest(ctx, "ops")
		cancel()
		if (err == nil) != step.trusted {
			t.Errorf("%s: asked, it gave %v", step.name, err)
		}
	}
}

// Files that stay broken are logged once, and again when they are broken anew.
func TestBrokenFilesAreLoggedOnce(t *testing.T) {
	var logged strings.Builder
	var broken error
	l := &latest[int]{what: "--nats-ca", log: slog.New(slog.NewTextHandler(&logged, nil)), read: func() (int, error) { return 1, broken }}
	if err := l.first(); err != nil {
		t.Fatal(err)
	}
	for i, step := range []struct {
		broken error
		lines  int // in the log after it
	}{{errors.New("cut off"), 1}, {errors.New("cut off"), 1}, {nil, 1}, {errors.New("cut off"), 2}} {
		broken = step.broken
		if got := l.get(); got != 1 {
			t.Errorf("step %d: got %d, want the last good one", i, got)
		}
		if lines := strings.Count(logged.String(), "--nats-ca not replaced"); lines != step.lines {
			t.Errorf("step %d: the log has %d lines of it, want %d", i, lines, step.lines)
		}
	}
}
