package natscluster_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"securechat/certs"
	"securechat/cmd/chatd/internal/natscluster"
	"securechat/cmd/chatd/internal/sandbox"
	"securechat/server/room"
	"securechat/server/room/jetstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestACluster(t *testing.T) {
	box, err := sandbox.Open(t.TempDir(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	service := box.Settings()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cluster, err := natscluster.Start(ctx, natscluster.Config{
		Dir: filepath.Join(t.TempDir(), "nats"), Certificate: service.TLSCert, Key: service.TLSKey, Roots: box.CA(), Servers: 3,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Stop()
	roots, err := certs.LoadCertificates(box.CA())
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	for _, root := range roots {
		pool.AddCert(root)
	}
	connect := func(urls []string, trusted *x509.CertPool) (*jetstream.Shared, error) {
		return jetstream.Connect(ctx, jetstream.ConnectConfig{URLs: urls, TLS: &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: trusted}, Replicas: 3})
	}
	urls := cluster.URLs()
	// Nobody without the password, and nothing in the clear or unauthenticated.
	stranger, _ := url.Parse(urls[0])
	stranger.User = nil
	if log, err := connect([]string{stranger.String()}, pool); err == nil {
		_ = log.Close()
		t.Error("a client without the password was let in")
	}
	if log, err := connect(urls, x509.NewCertPool()); err == nil {
		_ = log.Close()
		t.Error("a client took the servers for somebody whom it does not know")
	} else if strings.Contains(err.Error(), "@") {
		t.Errorf("the error has the password: %v", err)
	}
	var logs []*jetstream.Shared
	for _, u := range urls { // one a server
		log, err := connect([]string{u}, pool)
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		logs = append(logs, log)
	}
	first, err := logs[0].Append(ctx, []room.Draft{{Entry: room.Entry{Room: "lobby", User: "alice", Text: "hello", Time: time.Now()}}})
	if err != nil {
		t.Fatal(err)
	}
	for i, log := range logs {
		if newest, err := log.Newest(ctx, "lobby"); err != nil || newest != first {
			t.Errorf("server %d has %d as the newest, %v, want %d", i, newest, err, first)
		}
	}
}
