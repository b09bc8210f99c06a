package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"securechat/cmd/chatd/internal/daemon"
	"securechat/cmd/chatd/internal/sandbox"
	"securechat/cmd/chatd/internal/settings"
	"securechat/cmd/internal/cli"
	"securechat/cmd/internal/contexts"
	"securechat/cmd/internal/telemetry"
	"securechat/server/room/jetstream"
)

// devGrace is how long open streams have when a try-out ends.
const devGrace = 2 * time.Second

// devRequest is what `dev` is told.
type devRequest struct {
	listen, adminListen, state string
	nodes                      int
	stdout, stderr             io.Writer
}

func devCommand() *cobra.Command {
	var request devRequest
	c := &cobra.Command{
		Use:   "dev",
		Short: "Try it all out on this machine, with nothing to configure",
		Long: `Make an authority, a server's certificate, a token issuer and the users alice and
bob, serve on loopback with all security on, send a first message as alice, and
say what to type next. Ctrl-C ends it. The next start uses the same certificates.

It keeps its files in $XDG_STATE_HOME/securechat/dev and adds the client contexts
alice and bob to those of the program chat.`,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := request.check(); err != nil {
				return err
			}
			request.stdout, request.stderr = c.OutOrStdout(), c.ErrOrStderr()
			return request.run(c.Context())
		},
	}
	flags := c.Flags()
	flags.StringVar(&request.listen, "listen", "127.0.0.1:50051", "where to serve, on loopback")
	flags.StringVar(&request.adminListen, "admin-listen", "127.0.0.1:9464", `where to serve health, metrics and profiles, on loopback; "off" for nowhere`)
	flags.IntVar(&request.nodes, "nodes", 1, "how many servers share the rooms: with 3 or 5, each is beside a NATS server of one cluster, on loopback as well")
	flags.StringVar(&request.state, "state", "", "folder for its files (default $XDG_STATE_HOME/securechat/dev)")
	return c
}

// check refuses addresses that other machines can reach: the tokens and keys of
// a try-out are no protection there.
func (r *devRequest) check() error {
	if r.adminListen == settings.Off {
		r.adminListen = ""
	}
	for _, address := range []struct{ flag, value string }{{"--listen", r.listen}, {"--admin-listen", r.adminListen}} {
		if address.value == "" && address.flag == "--admin-listen" {
			continue
		}
		if err := settings.CheckAddress(address.value); err != nil {
			return usage("%s: %w", address.flag, err)
		}
		host, _, _ := net.SplitHostPort(address.value) // CheckAddress has split it
		if ip := net.ParseIP(host); host != sandbox.ServerName && !ip.IsLoopback() {
			return usage("%s: %s is not loopback, and chatd dev serves this machine alone: use 127.0.0.1, or chatd serve", address.flag, address.value)
		}
	}
	if r.nodes != 1 && r.nodes != 3 && r.nodes != 5 {
		return usage("--nodes: %d servers have no useful majority: ask for 1, 3 or 5", r.nodes)
	}
	if r.state == "" {
		r.state = sandbox.DefaultDir()
	}
	return nil
}

func (r *devRequest) run(ctx context.Context) error {
	// What the first message logs would stand above what the user is to read.
	level := &slog.LevelVar{}
	level.Set(slog.LevelWarn)
	log := newLog(r.stderr, settings.FormatText, level)
	tel, err := telemetry.Setup(ctx, telemetry.Options{
		Service: service, Version: cli.Version(), Log: log, Scrape: r.adminListen != "", Always: true,
	})
	if err != nil {
		return err
	}
	defer endTelemetry(tel, log)
	box, nodes, err := r.start(ctx, tel)
	if err != nil {
		return err
	}
	defer nodes.stop()
	if err := r.welcome(ctx, box, nodes, tel); err != nil {
		return err
	}
	level.Set(slog.LevelInfo)

	var renewal sync.WaitGroup
	defer renewal.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	renewal.Go(func() { box.KeepTokens(ctx, tel.Log) })
	return nodes.follow(ctx)
}

// lock takes the folder, whatever keeps the rooms in it, so that a second try-out
// leaves the first one's files alone, and the client contexts.
func (r *devRequest) lock() (unlock func() error, err error) {
	if err := os.MkdirAll(r.state, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of the try-out: %w: choose another with --state", err)
	}
	if unlock, err = jetstream.Lock(filepath.Join(r.state, "lock")); err != nil {
		return nil, fmt.Errorf("--state: %s: %w", r.state, err)
	}
	return unlock, nil
}

// start takes the ports first, and then the folder.
func (r *devRequest) start(ctx context.Context, tel *telemetry.Telemetry) (*sandbox.Sandbox, *devNodes, error) {
	listeners, err := r.ports()
	if err != nil {
		return nil, nil, err
	}
	unlock, err := r.lock()
	if err != nil {
		closeAll(listeners)
		return nil, nil, err
	}
	box, err := sandbox.Open(r.state, "alice", "bob")
	if err != nil {
		closeAll(listeners)
		return nil, nil, errors.Join(err, unlock())
	}
	service := box.Settings()
	service.Grace = devGrace
	nodes, err := startNodes(ctx, box, service, listeners, tel)
	if err != nil {
		return nil, nil, errors.Join(err, unlock())
	}
	nodes.unlock = unlock
	return box, nodes, nil
}

// ports are those of the first server, and any others for the rest.
func (r *devRequest) ports() ([]*daemon.Listeners, error) {
	wanted := settings.Settings{Listen: r.listen, AdminListen: r.adminListen}
	var all []*daemon.Listeners
	for range r.nodes {
		listeners, err := daemon.Listen(wanted)
		if err != nil {
			closeAll(all)
			return nil, err
		}
		all = append(all, listeners)
		wanted = settings.Settings{Listen: "127.0.0.1:0"}
	}
	return all, nil
}

// welcome proves that all works, and says what runs where and what to do next.
// Scripts that wait for the line "ready" find the client contexts in place.
func (r *devRequest) welcome(ctx context.Context, box *sandbox.Sandbox, nodes *devNodes, tel *telemetry.Telemetry) error {
	listen, admin := nodes.daemons[0].Addresses()
	displaced := box.Displaced(contexts.User())
	current, err := box.SaveContexts(contexts.User(), listen)
	if err != nil {
		return err
	}
	if displaced != "" {
		fmt.Fprintf(r.stderr, "chatd: the client contexts of alice and bob led to the try-out in %s and lead to this one now: the next start of that one takes them back\n", cli.Printable(displaced))
	}
	proof, err := prove(ctx, box, listen, tel.Tracing)
	if err != nil {
		return fmt.Errorf("the first message as %s failed: %w", box.Users()[0].Name, err)
	}
	announce(r.stderr, nodes.daemons[0])
	return summary{
		proof: proof, box: box, listen: listen, admin: admin, rooms: nodes.rooms, others: nodes.others(),
		traces: tel.Destination, current: current, chat: commandOf("chat"), chatd: commandOf("chatd"),
	}.print(r.stdout)
}
