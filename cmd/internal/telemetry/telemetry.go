// Package telemetry sets up traces, metrics and logs for a program, as the OTEL_*
// environment variables say.
//
// Spans are made where OTEL_TRACES_EXPORTER names an exporter other than none,
// or OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT names a
// collector. Metrics are pushed where OTEL_METRICS_EXPORTER or
// OTEL_EXPORTER_OTLP_METRICS_ENDPOINT asks for it, and log records where
// OTEL_LOGS_EXPORTER or OTEL_EXPORTER_OTLP_LOGS_ENDPOINT does; a collector named
// for all signals does not, because one that takes traces alone, such as Jaeger,
// would refuse them. Each signal has one exporter. Where nothing is asked for,
// nothing runs and nothing is printed. OTEL_SDK_DISABLED=true turns all of it off.
//
// Trace context travels in each message, as W3C traceparent, so
// OTEL_PROPAGATORS has nothing to choose.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
)

// shutdownLimit is how long Shutdown takes at most where its context has no
// deadline.
const shutdownLimit = 5 * time.Second

// Options says what a program wants beside what the environment asks for.
type Options struct {
	// Service and Version are service.name and service.version, unless the
	// environment says otherwise.
	Service, Version string
	// Log is where the program's log goes beside any export of it. It has what
	// goes wrong with exporting, a line a minute at most. By default it is
	// slog.Default().
	Log *slog.Logger
	// Scrape makes Telemetry.Handler, for Prometheus to read.
	Scrape bool
	// Always makes spans even where nobody is to receive them, so that every
	// message has a trace id. OTEL_SDK_DISABLED goes before it.
	Always bool
}

// Telemetry is what a program hands to those that make spans, metrics and log
// records.
type Telemetry struct {
	// Log writes to Options.Log and, where that is asked for, exports what is
	// written there. It is never nil.
	Log *slog.Logger
	// Tracing makes spans; nil where none are asked for.
	Tracing trace.TracerProvider
	// Metrics makes instruments. It is never nil.
	Metrics metric.MeterProvider
	// Handler answers a scrape with the metrics; nil unless Options.Scrape.
	Handler http.Handler
	// Destination says in words where spans go; empty where they go nowhere.
	Destination string

	shutdown []func(context.Context) error
}

// Setup starts what the environment and the options ask for. The process's one
// OpenTelemetry error handler becomes its own, so a program calls it once.
// Shutdown ends it.
func Setup(ctx context.Context, o Options) (*Telemetry, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	t := &Telemetry{Log: o.Log, Metrics: metricnoop.NewMeterProvider()}
	asked := readEnvironment()
	if asked.any() {
		reportTo(o.Log)
	}
	described, err := describe(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := t.setupTraces(ctx, asked, o.Always, described); err != nil {
		return nil, err
	}
	if err := t.setupMetrics(ctx, asked, o.Scrape, described); err != nil {
		return nil, errors.Join(err, t.Shutdown(ctx))
	}
	if err := t.setupLogs(ctx, asked, described); err != nil {
		return nil, errors.Join(err, t.Shutdown(ctx))
	}
	return t, nil
}

// atShutdown has shutdown end what drains its queue without regard to a context:
// stopExports, which ends the exports under way and all later ones, is called
// when the time is up.
func (t *Telemetry) atShutdown(stopExports context.CancelFunc, shutdown func(context.Context) error) {
	t.shutdown = append(t.shutdown, func(ctx context.Context) error {
		defer stopExports()
		defer context.AfterFunc(ctx, stopExports)()
		return shutdown(context.WithoutCancel(ctx))
	})
}

// Shutdown sends what is still to be sent and ends all that Setup started. It
// takes until ctx ends, and 5 s at most where ctx has no deadline; what could
// not be sent by then is lost. When it returns, nothing of it runs any more.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, shutdownLimit)
		defer cancel()
	}
	var problems error
	for _, shutdown := range t.shutdown {
		problems = errors.Join(problems, shutdown(ctx))
	}
	if problems != nil {
		return fmt.Errorf("telemetry: end the exports: %w", problems)
	}
	return nil
}
