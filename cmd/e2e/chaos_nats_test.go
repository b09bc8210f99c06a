//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// natsConfig is one server that speaks of no other to its clients, so that they
// take the way that they were shown.
const natsConfig = `
server_name: %[1]s
listen: "%[2]s"
jetstream { store_dir: "%[3]s"%[4]s }
%[5]s
`

// syncAlways is a server's setting to write through what it acknowledges.
const syncAlways = ", sync_interval: always"

const natsCluster = `cluster { name: chaos, listen: "%s", no_advertise: true, routes: [%s] }`

// natsServers are processes that may be killed, and started again at the same
// addresses with what they have left on the disk.
type natsServers struct {
	t         *testing.T
	nats      string
	configs   []string
	addresses []string
	processes []*process
}

// startNATS starts one server, or a cluster, and returns when it has a leader.
func (c *chaos) startNATS(t *testing.T, count int) *natsServers {
	t.Helper()
	return c.startNATSIn(t, t.TempDir(), "", count)
}

// startNATSIn has the servers keep what they store in a folder, with these settings.
func (c *chaos) startNATSIn(t *testing.T, store, settings string, count int) *natsServers {
	t.Helper()
	s := &natsServers{t: t, nats: c.nats, processes: make([]*process, count)}
	dir := t.TempDir()
	var peers, routes []string
	ports := freePorts(t, 2*count)
	for i := range count {
		s.addresses = append(s.addresses, net.JoinHostPort("127.0.0.1", ports[2*i]))
		peers = append(peers, net.JoinHostPort("127.0.0.1", ports[2*i+1]))
		routes = append(routes, "nats://"+peers[len(peers)-1])
	}
	for i := range count {
		name, cluster := fmt.Sprint("n", i), ""
		if count > 1 {
			cluster = fmt.Sprintf(natsCluster, peers[i], strings.Join(routes, ", "))
		}
		config := filepath.Join(dir, name+".conf")
		must(t, os.WriteFile(config, fmt.Appendf(nil, natsConfig, name, s.addresses[i], filepath.Join(store, name), settings, cluster), 0o600))
		s.configs = append(s.configs, config)
		s.start(i)
	}
	eventually(t, "NATS takes a request", func() error {
		return s.ask(func(ctx context.Context, js jetstream.JetStream) error {
			_, err := js.AccountInfo(ctx)
			return err
		})
	})
	return s
}

func (s *natsServers) start(i int) {
	s.processes[i] = run(s.t, nil, s.nats, "-c", s.configs[i])
	eventually(s.t, s.addresses[i]+" listens", func() error {
		conn, err := net.Dial("tcp", s.addresses[i])
		if err == nil {
			err = conn.Close()
		}
		return err
	})
}

func (s *natsServers) kill(i int) { s.processes[i].kill() }

func (s *natsServers) urls() string {
	return "nats://" + strings.Join(s.addresses, ",nats://")
}

func (s *natsServers) ask(question func(context.Context, jetstream.JetStream) error) error {
	conn, err := nats.Connect(s.urls())
	if err != nil {
		return err
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return question(ctx, js)
}

// healed waits until all replicas of the log have all of it, and returns the place
// of the one that leads.
func (s *natsServers) healed() (leader int) {
	s.t.Helper()
	eventually(s.t, "the replicas are alike", func() error {
		return s.ask(func(ctx context.Context, js jetstream.JetStream) error {
			log, err := js.Stream(ctx, "CHAT")
			if err != nil {
				return err
			}
			cluster := log.CachedInfo().Cluster
			if cluster == nil || cluster.Leader == "" || len(cluster.Replicas) != len(s.processes)-1 {
				return fmt.Errorf("the log's cluster is %+v", cluster)
			}
			for _, replica := range cluster.Replicas {
				if !replica.Current || replica.Offline {
					return fmt.Errorf("%s is behind by %d", replica.Name, replica.Lag)
				}
			}
			_, err = fmt.Sscanf(cluster.Leader, "n%d", &leader)
			return err
		})
	})
	return leader
}
