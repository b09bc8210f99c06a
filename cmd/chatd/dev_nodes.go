package main

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"time"

	metricnoop "go.opentelemetry.io/otel/metric/noop"

	"securechat/cmd/chatd/internal/daemon"
	"securechat/cmd/chatd/internal/natscluster"
	"securechat/cmd/chatd/internal/sandbox"
	"securechat/cmd/chatd/internal/settings"
	"securechat/cmd/internal/telemetry"
)

// clusterLimit is how long a NATS cluster may take to find a leader.
const clusterLimit = 30 * time.Second

// devNodes are the servers of a try-out: one that keeps the rooms itself, or
// several on a NATS cluster in this process.
type devNodes struct {
	cluster *natscluster.Cluster // nil: there is one server alone
	daemons []*daemon.Daemon
	rooms   string       // where they are kept
	unlock  func() error // leaves the folder to the next; nil: nobody has taken it
}

// startNodes starts a server on each of the listeners, which become the servers'
// own even if it fails.
func startNodes(ctx context.Context, box *sandbox.Sandbox, service settings.Settings, listeners []*daemon.Listeners, tel *telemetry.Telemetry) (*devNodes, error) {
	nodes := &devNodes{rooms: service.Data}
	if len(listeners) > 1 {
		if err := nodes.startCluster(ctx, box, &service, len(listeners)); err != nil {
			closeAll(listeners)
			return nil, err
		}
	}
	for i, own := range listeners {
		each := *tel
		if i > 0 { // what is scraped is the first one's
			each.Metrics, each.Handler = metricnoop.NewMeterProvider(), nil
		}
		d, err := daemon.Start(ctx, daemon.Config{Settings: service, Log: tel.Log, Telemetry: &each}, own)
		if err != nil {
			closeAll(listeners[i+1:])
			nodes.stop()
			return nil, err
		}
		nodes.daemons = append(nodes.daemons, d)
	}
	return nodes, nil
}

// startCluster has the servers keep their rooms in a cluster of as many.
func (n *devNodes) startCluster(ctx context.Context, box *sandbox.Sandbox, service *settings.Settings, servers int) (err error) {
	ctx, cancel := context.WithTimeout(ctx, clusterLimit)
	defer cancel()
	n.rooms = filepath.Join(box.Dir(), "nats")
	n.cluster, err = natscluster.Start(ctx, natscluster.Config{
		Dir: n.rooms, Certificate: service.TLSCert, Key: service.TLSKey, Roots: box.CA(), Servers: servers,
	})
	if err != nil {
		return err
	}
	service.Data = ""
	service.NATS, service.NATSCA, service.NATSReplicas = n.cluster.URLs(), box.CA(), servers
	return nil
}

// others are where the servers but the first listen.
func (n *devNodes) others() (addresses []string) {
	for _, d := range n.daemons[1:] {
		listen, _ := d.Addresses()
		addresses = append(addresses, listen)
	}
	return addresses
}

// follow returns nil when ctx ends, and an error when a server fails before.
func (n *devNodes) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failures := make([]error, len(n.daemons))
	var following sync.WaitGroup
	for i, d := range n.daemons {
		following.Go(func() {
			defer cancel()
			failures[i] = d.Follow(ctx, nil)
		})
	}
	following.Wait()
	return errors.Join(failures...)
}

// stop ends the servers all at once, and then what keeps their rooms.
func (n *devNodes) stop() {
	var stopping sync.WaitGroup
	for _, d := range n.daemons {
		stopping.Go(d.Stop)
	}
	stopping.Wait()
	if n.cluster != nil {
		n.cluster.Stop()
	}
	if n.unlock != nil {
		_ = n.unlock() // as the end of the process would
	}
}

func closeAll(listeners []*daemon.Listeners) {
	for _, l := range listeners {
		l.Close()
	}
}
