package jetstream_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"

	"securechat/server/room"
	"securechat/server/room/jetstream"
	"securechat/server/room/roomtest"
)

const readyWithin = 20 * time.Second

// nats is servers on loopback that a test starts, a cluster where they are several.
type nats struct {
	t       testing.TB
	options []*server.Options
	servers []*server.Server
	logs    atomic.Int64
}

func startNATS(t testing.TB, count int) *nats {
	n := &nats{t: t, servers: make([]*server.Server, count)}
	dir := t.TempDir()
	ports := make([]int, count)
	routes := make([]*url.URL, count)
	for i := range count {
		ports[i] = freePort(t, ports[:i]...)
		routes[i] = &url.URL{Scheme: "nats", Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[i]))}
	}
	for i := range count {
		options := &server.Options{
			ServerName: fmt.Sprintf("n%d", i), Host: "127.0.0.1", Port: freePort(t, ports...), // where it is found again
			NoSigs: true, NoLog: true, JetStream: true, JetStreamMaxStore: 1 << 40,
			StoreDir: filepath.Join(dir, strconv.Itoa(i)),
		}
		if count > 1 {
			options.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: ports[i], PoolSize: -1}
			options.Routes = routes
		}
		n.options = append(n.options, options)
		n.start(i)
	}
	t.Cleanup(func() {
		for i := range n.servers {
			n.stop(i)
		}
	})
	n.untilReady()
	return n
}

func (n *nats) start(i int) {
	n.t.Helper()
	s, err := server.NewServer(n.options[i])
	if err != nil {
		n.t.Fatal(err)
	}
	n.servers[i] = s
	s.Start()
	if !s.ReadyForConnections(readyWithin) {
		n.t.Fatalf("server %d does not start", i)
	}
}

func (n *nats) stop(i int) {
	if s := n.servers[i]; s != nil {
		s.Shutdown()
		s.WaitForShutdown()
		n.servers[i] = nil
	}
}

// untilReady waits until a cluster has a leader and its servers have caught up.
func (n *nats) untilReady() {
	n.t.Helper()
	if len(n.servers) == 1 {
		return
	}
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	late := time.After(readyWithin)
	for {
		ready, led := true, false
		for _, s := range n.servers {
			if s != nil {
				ready = ready && s.JetStreamIsCurrent()
				led = led || s.JetStreamIsLeader()
			}
		}
		if ready && led {
			return
		}
		select {
		case <-again.C:
		case <-late:
			n.t.Fatal("the cluster does not find a leader")
		}
	}
}

// leader returns the place of the server that leads a log's stream.
func (n *nats) leader(name string) int {
	n.t.Helper()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	late := time.After(readyWithin)
	for {
		for i, s := range n.servers {
			if s != nil && s.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, name) {
				return i
			}
		}
		select {
		case <-again.C:
		case <-late:
			n.t.Fatalf("nobody leads %s", name)
		}
	}
}

// stepDown has the leader of a log's stream be one no more.
func (n *nats) stepDown(name string) {
	n.t.Helper()
	nc, err := natsgo.Connect(n.urls()[0], natsgo.Timeout(readyWithin))
	if err != nil {
		n.t.Fatal(err)
	}
	defer nc.Close()
	answer, err := nc.Request("$JS.API.STREAM.LEADER.STEPDOWN."+name, nil, readyWithin)
	if err != nil || !strings.Contains(string(answer.Data), `"success":true`) {
		n.t.Fatalf("the leader does not step down: %v", err)
	}
}

func (n *nats) urls() []string {
	var urls []string
	for _, o := range n.options {
		urls = append(urls, fmt.Sprintf("nats://127.0.0.1:%d", o.Port))
	}
	return urls
}

// config is for a log of its own, with a replica on each server.
func (n *nats) config(limits roomtest.Limits) jetstream.ConnectConfig {
	return jetstream.ConnectConfig{
		URLs: n.urls(), Name: fmt.Sprintf("log%d", n.logs.Add(1)), Replicas: len(n.servers), Keep: keep(limits),
	}
}

// connect waits for a cluster that is not ready.
func connect(t testing.TB, config jetstream.ConnectConfig) *jetstream.Shared {
	t.Helper()
	late := time.After(readyWithin)
	for {
		log, err := reach(t, config)
		switch {
		case err == nil:
			return log
		case !errors.Is(err, jetstream.ErrNotReady):
			t.Fatal(err)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-late:
			t.Fatal(err)
		}
	}
}

// reach connects again where a server has not answered in the two seconds that it has for
// that: it may be held up, as the test is.
func reach(t testing.TB, config jetstream.ConnectConfig) (*jetstream.Shared, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), readyWithin)
	defer cancel()
	for {
		log, err := jetstream.Connect(ctx, config)
		var held net.Error
		if err == nil || ctx.Err() != nil || !errors.As(err, &held) || !held.Timeout() {
			return log, err
		}
	}
}

// A cluster that does not see as many servers as there are to be replicas is not ready: a
// new leader does not see all of them at once.
func TestAClusterOfTooFewServersIsNotReady(t *testing.T) {
	config := startNATS(t, 3).config(roomtest.Limits{})
	config.Replicas = 5
	if log, err := reach(t, config); !errors.Is(err, jetstream.ErrNotReady) {
		if err == nil {
			log.Close()
		}
		t.Errorf("%v, want %v", err, jetstream.ErrNotReady)
	}
}

// freePort returns a port that nobody listens on, and that nobody is given before it is
// used: systems give connections, and listeners that ask for any, ports from 32768 on.
func freePort(t testing.TB, taken ...int) int {
	t.Helper()
	const least, beyond = 16384, 32768
	for range 100 {
		port := least + rand.N(beyond-least)
		if slices.Contains(taken, port) {
			continue
		}
		if l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			_ = l.Close()
			return port
		}
	}
	t.Fatal("there is no free port")
	return 0
}

func testShared(t *testing.T, servers int) {
	n := startNATS(t, servers)
	t.Parallel() // once it has its ports
	roomtest.TestLog(t, func(t *testing.T, limits roomtest.Limits) roomtest.Open {
		config := n.config(limits)
		return func() room.Log { return connect(t, config) }
	})
	roomtest.TestCluster(t, func(t *testing.T) (a, b roomtest.SharedLog) {
		config := n.config(roomtest.Limits{})
		return connect(t, config), connect(t, config)
	})
}

func TestOneServer(t *testing.T)    { testShared(t, 1) }
func TestThreeServers(t *testing.T) { testShared(t, 3) }
