package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

	"securechat/certs"
	"securechat/server"
	"securechat/server/room"
	"securechat/server/room/jetstream"
	"securechat/server/room/roomtest"
)

// A venue is a server that runs in this process.
type venue struct {
	address string
	nats    *natsserver.Server // nil: it is a chat's
	stop    func() error
}

// unlimited lets a few users have all the streams and connections there are.
var unlimited = server.Limits{
	StreamsPerConnection: 1 << 20, StreamsPerIdentity: 1 << 20, ConnectionsPerIdentity: 1 << 20, HandshakesPerAddress: 1 << 20,
}

// inMemory is the whole service on a log that costs next to nothing.
func inMemory(t *town, _ settings) (*venue, error) { return serveRooms(t, roomtest.NewMemory()) }

// durable is the whole service as it is meant to be run.
func durable(t *town, s settings) (*venue, error) {
	log, remove, err := openLog(s, 0)
	if err != nil {
		return nil, err
	}
	v, err := serveRooms(t, log)
	if err != nil {
		return nil, errors.Join(err, remove())
	}
	stop := v.stop
	v.stop = func() error { return errors.Join(stop(), remove()) }
	return v, nil
}

// openLog opens an empty embedded log; remove closes it and removes its folder.
func openLog(s settings, interval time.Duration) (log *jetstream.Local, remove func() error, err error) {
	dir, err := os.MkdirTemp(s.dir, "log-")
	if err != nil {
		return nil, nil, err
	}
	log, err = jetstream.Embedded(jetstream.EmbeddedConfig{Dir: filepath.Join(dir, "rooms"), SyncInterval: interval})
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	return log, func() error { return errors.Join(log.Close(), os.RemoveAll(dir)) }, nil
}

// serveRooms is the whole service: mutual TLS, token, the chain with its metrics.
func serveRooms(t *town, log room.Log) (*venue, error) {
	srv, err := server.New(server.Config{
		Certificates: t.server, Tokens: t.verifier, Limits: unlimited, Log: slog.New(slog.DiscardHandler),
		Rooms:   server.Rooms{Log: log},
		Metrics: sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader())),
	})
	if err != nil {
		return nil, err
	}
	return serve(srv.Serve, func() {
		now, cancel := context.WithCancel(context.Background())
		cancel()
		srv.Shutdown(now)
	})
}

// serve has a server serve on loopback until stop.
func serve(run func(net.Listener) error, end func()) (*venue, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		end()
		return nil, err
	}
	served := make(chan error, 1)
	go func() { served <- run(listener) }()
	return &venue{address: listener.Addr().String(), stop: func() error { end(); return <-served }}, nil
}

// natsOverTLS is a NATS server that stores nothing: its subscribers are what fan-out
// costs without a chat.
func natsOverTLS(t *town, _ settings) (*venue, error) { return startNATS(natsOptions(t)) }

// natsOptions are those of a server with mutual TLS.
func natsOptions(t *town) *natsserver.Options {
	return &natsserver.Options{
		Host: "127.0.0.1", Port: natsserver.RANDOM_PORT, NoSigs: true, NoLog: true,
		TLS: true, TLSVerify: true, TLSConfig: certs.ServerConfig(t.server), TLSTimeout: startup.Seconds(), MaxConn: 1 << 20,
	}
}

// startup is how long a server may take to start.
const startup = 20 * time.Second

func startNATS(options *natsserver.Options) (*venue, error) {
	s, err := natsserver.NewServer(options)
	if err != nil {
		return nil, err
	}
	s.Start()
	v := &venue{nats: s, stop: func() error { s.Shutdown(); s.WaitForShutdown(); return nil }}
	if !s.ReadyForConnections(startup) {
		return nil, errors.Join(errors.New("the NATS server does not start"), v.stop())
	}
	if !options.DontListen {
		v.address = "tls://" + s.Addr().String()
	}
	return v, nil
}
