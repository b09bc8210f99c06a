package main

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"securechat/cmd/chatd/internal/natscluster"
	"securechat/cmd/chatd/internal/sandbox"
	"securechat/server/room/roomtest"
)

// startNATS runs three NATS servers of one cluster on loopback, until the test ends.
func startNATS(t *testing.T) []*natsserver.Server {
	t.Helper()
	const count = 3
	dir := t.TempDir()
	var routes []*url.URL
	addresses, err := natscluster.FreeAddresses(count)
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range addresses {
		routes = append(routes, &url.URL{Scheme: "nats", Host: address.String()})
	}
	var servers []*natsserver.Server
	for i := range count {
		name := "n" + strconv.Itoa(i)
		s, err := natsserver.NewServer(&natsserver.Options{
			ServerName: name, Host: "127.0.0.1", Port: natsserver.RANDOM_PORT, NoSigs: true, NoLog: true,
			JetStream: true, JetStreamMaxStore: 1 << 40, StoreDir: filepath.Join(dir, name), Routes: routes,
			Cluster: natsserver.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: addresses[i].Port, PoolSize: -1},
		})
		if err != nil {
			t.Fatal(err)
		}
		servers = append(servers, s)
	}
	t.Cleanup(func() {
		for _, s := range servers {
			s.Shutdown()
			s.WaitForShutdown()
		}
	})
	for _, s := range servers {
		s.Start()
	}
	for _, s := range servers {
		if !s.ReadyForConnections(patience) {
			t.Fatal("a NATS server does not start")
		}
	}
	return servers
}

// Two programs on one cluster are killed in turn, and a server of the cluster ends
// for good: those who talk and listen go over to the other program, and nothing
// that was acknowledged is missing or there twice.
func TestNothingAcknowledgedIsLostInACluster(t *testing.T) {
	t.Parallel()
	const total, kills = 200, 4
	box, err := sandbox.Open(t.TempDir(), "alice", "bob", "carol")
	if err != nil {
		t.Fatal(err)
	}
	servers := startNATS(t)
	var urls []string
	for _, s := range servers {
		urls = append(urls, "nats://"+s.Addr().String())
	}
	begin := func(listen string) *process {
		p, err := startProcess(t.TempDir(), append(os.Environ(), "GORACE=atexit_sleep_ms=0"),
			append(serveFlags(box), "--listen", listen, "--admin-listen", "off", "--grace", "2s",
				"--nats", strings.Join(urls, ","), "--nats-replicas", "3"))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	programs := []*process{begin("127.0.0.1:0"), begin("127.0.0.1:0")}
	defer func() {
		for _, p := range programs {
			if code, err := p.stop(); err != nil || code != 0 {
				t.Errorf("chatd ended with %d, %v: %s", code, err, p.errors())
			}
		}
	}()
	one, two := programs[0].listen, programs[1].listen
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	history := roomtest.NewHistory()
	acknowledged := make(chan struct{}, 2*total)
	var talking sync.WaitGroup
	for i, addresses := range [][]string{{one, two}, {two, one}} {
		s := newSpeaker(t, box, box.Users()[i], addresses...)
		talking.Go(func() {
			if err := s.speak(ctx, lobby, total, history, acknowledged); err != nil {
				t.Errorf("%s speaks: %v", s.name, err)
			}
		})
	}
	carol := newSpeaker(t, box, box.Users()[2], one, two)
	reader := history.Reader("carol", 0)
	talking.Go(func() {
		if err := carol.listen(ctx, lobby, 2*total, reader); err != nil {
			t.Errorf("carol listens: %v", err)
		}
	})
	for i := range kills {
		for range 2 * total / (kills + 1) {
			select {
			case <-acknowledged:
			case <-ctx.Done():
				t.Fatal("the conversation does not go on")
			}
		}
		if i == kills/2 {
			servers[0].Shutdown()
		}
		p := programs[i%2]
		if err := p.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_, _ = p.wait()
		programs[i%2] = begin(p.listen)
	}
	talking.Wait()
	if err := history.Check(); err != nil {
		t.Error(err)
	}
}
