// Package natscluster runs a small NATS cluster in this process and on loopback, so
// that several chatd on one log can be tried out on one machine. Its connections
// are encrypted, and ask for a password that is made anew at each start.
package natscluster

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"securechat/certs"
)

const (
	host = "127.0.0.1"
	user = "chatd"
	name = "chatd-dev"
	// startWithin is how long a server may take to listen.
	startWithin = 20 * time.Second
	// lookEvery is how often a cluster is asked whether it has a leader.
	lookEvery = 50 * time.Millisecond
	maxStore  = 1 << 40 // bytes; the disk is the limit
)

// Config is what a Cluster is made of. Nothing in it is optional.
type Config struct {
	// Dir is the folder for what the servers keep. The next start uses it again.
	Dir string
	// Certificate and Key are files of a pair that is valid for 127.0.0.1, and Roots
	// the file of those whom its authority is.
	Certificate, Key, Roots string
	// Servers is how many there are: 3 or 5.
	Servers int
}

// A Cluster runs until Stop.
type Cluster struct {
	servers  []*server.Server
	password string
}

// Start starts the servers and returns when they have a leader that sees all of them.
func Start(ctx context.Context, config Config) (*Cluster, error) {
	base, err := options(config)
	if err != nil {
		return nil, err
	}
	routes, err := FreeAddresses(config.Servers)
	if err != nil {
		return nil, err
	}
	c := &Cluster{password: base.Password}
	for i := range config.Servers {
		each := base.Clone()
		each.ServerName = "n" + strconv.Itoa(i+1)
		each.StoreDir = filepath.Join(config.Dir, each.ServerName)
		each.Cluster.Port = routes[i].Port
		for _, route := range routes {
			each.Routes = append(each.Routes, &url.URL{Scheme: "tls", User: url.UserPassword(user, base.Password), Host: route.String()})
		}
		if err := c.start(each); err != nil {
			c.Stop()
			return nil, fmt.Errorf("start the NATS server %s: %w", each.ServerName, err)
		}
	}
	if err := c.untilReady(ctx); err != nil {
		c.Stop()
		return nil, err
	}
	return c, nil
}

// options are what the servers have in common.
func options(config Config) (*server.Options, error) {
	pair, err := certs.LoadKeyPair(config.Certificate, config.Key)
	if err != nil {
		return nil, err
	}
	roots, err := certs.LoadCertificates(config.Roots)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	for _, root := range roots {
		pool.AddCert(root)
	}
	encrypted := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*pair}, RootCAs: pool}
	password := rand.Text()
	return &server.Options{
		Host: host, Port: server.RANDOM_PORT, Username: user, Password: password,
		TLS: true, TLSConfig: encrypted, TLSTimeout: 5,
		NoSigs: true, NoLog: true,
		JetStream: true, JetStreamMaxStore: maxStore, SyncAlways: true, DisableJetStreamBanner: true,
		Cluster: server.ClusterOpts{
			Name: name, Host: host, Username: user, Password: password, TLSConfig: encrypted.Clone(), TLSTimeout: 5,
		},
	}, nil
}

// The ports by which the servers reach each other lie where systems give none to
// connections, nor to listeners that ask for any: one of these might take a port
// before its server listens.
const leastPort, beyondPorts = 16384, 32768

// FreeAddresses finds ports of loopback for servers to reach each other by, which each
// has to know before any of them listens.
func FreeAddresses(count int) (addresses []*net.TCPAddr, err error) {
	const attempts = 100
	for range attempts {
		port := leastPort + mathrand.N(beyondPorts-leastPort)
		var listener net.Listener
		if listener, err = net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port))); err != nil {
			continue
		}
		defer listener.Close() // all together, so that they differ
		if addresses = append(addresses, listener.Addr().(*net.TCPAddr)); len(addresses) == count {
			return addresses, nil
		}
	}
	return nil, fmt.Errorf("find a free port for the NATS cluster: %w", err)
}

func (c *Cluster) start(options *server.Options) error {
	s, err := server.NewServer(options)
	if err != nil {
		return err
	}
	c.servers = append(c.servers, s)
	s.Start()
	if !s.ReadyForConnections(startWithin) {
		return errors.New("it does not listen: perhaps another program took its port, then start again")
	}
	return nil
}

// untilReady waits until the servers have found a leader, and it all of them.
func (c *Cluster) untilReady(ctx context.Context) error {
	again := time.NewTicker(lookEvery)
	defer again.Stop()
	for {
		current, complete := true, false
		for _, s := range c.servers {
			current = current && s.JetStreamIsCurrent()
			complete = complete || s.JetStreamIsLeader() && len(s.JetStreamClusterPeers()) == len(c.servers)
		}
		if current && complete {
			return nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("the NATS cluster has found no leader, or it not all servers: %w", ctx.Err())
		}
	}
}

// URLs are where clients find the servers, with the password.
func (c *Cluster) URLs() []string {
	var urls []string
	for _, s := range c.servers {
		u := url.URL{Scheme: "tls", User: url.UserPassword(user, c.password), Host: s.Addr().String()}
		urls = append(urls, u.String())
	}
	return urls
}

// Stop ends the servers and returns when they have ended.
func (c *Cluster) Stop() {
	for _, s := range c.servers {
		s.Shutdown()
	}
	for _, s := range c.servers {
		s.WaitForShutdown()
	}
}
