// Package daemon runs the chat service as its settings say: it assembles it,
// serves it beside an admin listener, and ends it in good order.
//
//	listeners, err := daemon.Listen(settings)
//	...
//	d, err := daemon.Start(ctx, daemon.Config{Settings: settings, Log: log, Telemetry: tel}, listeners)
//	...
//	err = d.Follow(ctx, hangups)
//	d.Stop()
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"securechat/cmd/chatd/internal/settings"
	"securechat/cmd/internal/telemetry"
)

// Config is all that a Daemon needs to know. Nothing in it is optional.
type Config struct {
	Settings  settings.Settings
	Log       *slog.Logger
	Telemetry *telemetry.Telemetry
}

// A Daemon is the service while it runs. Its methods may be called concurrently.
type Daemon struct {
	config    Config
	parts     *parts
	admin     *admin // nil: there is none
	listeners *Listeners

	ready   atomic.Bool
	serving sync.WaitGroup
	failed  chan error // holds the first failure to serve
}

// Start serves on the listeners, which become the daemon's own even if it fails.
// When it returns, streams are accepted. It fails if ctx ends while it waits for a NATS
// cluster; later ctx means nothing to the daemon.
func Start(ctx context.Context, config Config, listeners *Listeners) (*Daemon, error) {
	parts, err := assemble(ctx, config, true)
	if err != nil {
		listeners.Close()
		return nil, err
	}
	d := &Daemon{config: config, parts: parts, listeners: listeners, failed: make(chan error, 2)}
	if err := parts.observe(config.Telemetry.Metrics); err != nil {
		listeners.Close()
		parts.close()
		return nil, err
	}
	parts.warn(config.Log)
	if !config.Settings.HasRooms() {
		config.Log.Info("there are no rooms, only the echo: --data or --nats say where rooms are to be kept")
	}
	if listeners.Admin != nil {
		d.admin = newAdmin(config.Log, d.isReady, config.Telemetry.Handler, parts.server)
		d.serve("admin listener", listeners.Admin, d.admin.serve)
	}
	d.serve("listener", listeners.Chat, parts.server.Serve)
	d.ready.Store(true)
	return d, nil
}

// isReady says whether new clients are welcome: not before the daemon serves, nor
// once it ends, nor while the log of its rooms is not available.
func (d *Daemon) isReady(ctx context.Context) bool {
	return d.ready.Load() && d.parts.server.Available(ctx) == nil
}

// serve runs one server until it is stopped or fails.
func (d *Daemon) serve(what string, listener net.Listener, run func(net.Listener) error) {
	d.serving.Go(func() {
		if err := run(listener); err != nil {
			d.failed <- fmt.Errorf("%s %s: %w", what, listener.Addr(), err)
		}
	})
}

// Addresses says where the daemon listens, with the ports it has in fact. admin
// is empty where there is no admin listener.
func (d *Daemon) Addresses() (listen, admin string) { return d.listeners.Addresses() }

// Follow returns nil when ctx ends, and an error when a listener fails before.
// At each hangup it reads all files at once, and not within a second, and fetches
// a key set from its URL.
func (d *Daemon) Follow(ctx context.Context, hangups <-chan os.Signal) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-d.failed:
			return err
		case <-hangups:
			d.reload(ctx)
		}
	}
}

// reloadLimit is how long a reload may wait for a key set from the network.
const reloadLimit = 15 * time.Second

func (d *Daemon) reload(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, reloadLimit)
	defer cancel()
	if err := d.parts.reload(ctx); err != nil {
		d.config.Log.Error("not all reloaded: the last good ones stay in use", slog.Any("error", err))
		return
	}
	d.config.Log.Info("reloaded")
}

// Stop says that the daemon is not ready any more, gives open streams the grace
// that the settings allow, closes the rooms and then their log, and ends all that
// Start began. It returns when nothing of it runs any more.
func (d *Daemon) Stop() {
	d.ready.Store(false)
	ctx, cancel := context.WithTimeout(context.Background(), d.config.Settings.Grace)
	defer cancel()
	d.parts.server.Shutdown(ctx)
	if d.admin != nil {
		d.admin.stop()
	}
	d.serving.Wait()
	d.parts.close()
}

// Check assembles the service as Start does, serves nothing, and says what is
// wrong: with the files, the key set, or the server's certificate. It opens no log
// of rooms, which a running service may have open.
func Check(ctx context.Context, config Config) error {
	parts, err := assemble(ctx, config, false)
	if err != nil {
		return err
	}
	defer parts.close()
	_, err = natsTLS(config.Settings, config.Log)
	return errors.Join(parts.usableCertificate(), parts.reachableKeys(ctx), err)
}
