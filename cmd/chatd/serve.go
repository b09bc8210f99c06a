package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"securechat/cmd/chatd/internal/daemon"
	"securechat/cmd/chatd/internal/settings"
	"securechat/cmd/internal/cli"
	"securechat/cmd/internal/telemetry"
)

const service = "chatd"

func serveCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "serve",
		Short: "Serve the chat with your own authority and token issuer",
		Long: `Serve the chat until SIGTERM or SIGINT.

Each setting is a flag, an environment variable (--tls-cert is CHATD_TLS_CERT) or
a key in the file of --config (tls-cert: server.crt). The flag goes before the
variable, and the variable before the file.

Certificates, roots, revocations, the key set and the room policy are followed: a
replacement is in force within a second, or at once with SIGHUP, and a broken one
changes nothing.

When streams are accepted, one line on stderr says where:
ready listen=127.0.0.1:50051 admin=127.0.0.1:9464

OTEL_* variables say where traces go, such as
OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318. OTEL_LOGS_EXPORTER=otlp sends
the log there too, and OTEL_METRICS_EXPORTER=otlp the metrics.`,
		Example: "chatd serve --tls-cert server.crt --tls-key server.key --client-ca ca/ca.crt \\\n" +
			"  --jwks jwks.json --issuer https://issuer.example --audience chat",
		RunE: func(c *cobra.Command, _ []string) error {
			loaded, err := loadSettings(c)
			if err != nil {
				return err
			}
			return serve(c.Context(), loaded.Settings, c.ErrOrStderr())
		},
	}
	settings.Flags(c.Flags())
	return c
}

// loadSettings reads the settings of a command that has their flags.
func loadSettings(c *cobra.Command) (*settings.Loaded, error) {
	loaded, err := settings.Load(c.Flags(), os.Environ())
	if err != nil && !errors.Is(err, settings.ErrFile) {
		return nil, cli.Exit(cli.Usage, err)
	}
	return loaded, err
}

// serve runs the service until ctx ends. Notices go to stderr.
func serve(ctx context.Context, s settings.Settings, stderr io.Writer) (err error) {
	log := newLog(stderr, s.LogFormat, s.LogLevel)
	tel, err := telemetry.Setup(ctx, telemetry.Options{
		Service: service, Version: cli.Version(), Log: log, Scrape: s.AdminListen != "",
	})
	if err != nil {
		return err
	}
	defer endTelemetry(tel, log)
	listeners, err := daemon.Listen(s)
	if err != nil {
		return err
	}
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	d, err := daemon.Start(ctx, daemon.Config{Settings: s, Log: tel.Log, Telemetry: tel}, listeners)
	if err != nil {
		return err
	}
	defer d.Stop()
	announce(stderr, d)
	return d.Follow(ctx, hangups)
}

// announce says on one line, for scripts, where the daemon accepts streams.
func announce(stderr io.Writer, d *daemon.Daemon) {
	listen, admin := d.Addresses()
	if admin == "" {
		admin = settings.Off
	}
	fmt.Fprintf(stderr, "ready listen=%s admin=%s\n", listen, admin)
}

func newLog(w io.Writer, format string, level slog.Leveler) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if format == settings.FormatJSON {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// endTelemetry sends what is still to be sent. That a collector is away is no
// failure of the service.
func endTelemetry(tel *telemetry.Telemetry, log *slog.Logger) {
	if err := tel.Shutdown(context.Background()); err != nil {
		log.Warn("some telemetry is lost", slog.Any("error", err))
	}
}
