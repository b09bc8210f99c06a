package telemetry

import (
	"context"
	"log/slog"

	"go.opentelemetry.io/contrib/bridges/otelslog"
	"go.opentelemetry.io/contrib/exporters/autoexport"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/trace"
)

// scope names what the exported records are of (InstrumentationScope).
const scope = "securechat"

func (t *Telemetry) setupLogs(ctx context.Context, asked environment, described *resource.Resource) error {
	if !asked.logs {
		return nil
	}
	exporter, err := autoexport.NewLogExporter(ctx)
	if err != nil {
		return unusable(envLogs, envLogsProtocol, err)
	}
	exports, stopExports := context.WithCancel(context.Background())
	provider := sdklog.NewLoggerProvider(
		sdklog.WithResource(described),
		sdklog.WithProcessor(utf8Only{}),
		sdklog.WithProcessor(sdklog.NewBatchProcessor(&stoppableLogs{Exporter: exporter, exports: exports})),
	)
	written := t.Log.Handler()
	exported := &exportHandler{Handler: otelslog.NewHandler(scope, otelslog.WithLoggerProvider(provider)), written: written}
	t.Log = slog.New(slog.NewMultiHandler(written, exported))
	t.atShutdown(stopExports, provider.Shutdown)
	return nil
}

// stoppableLogs is stoppable for log records.
type stoppableLogs struct {
	sdklog.Exporter
	exports context.Context
}

func (s *stoppableLogs) Export(ctx context.Context, records []sdklog.Record) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.exports, cancel)()
	return s.Exporter.Export(ctx, records)
}

// traceIDKey is the attribute that has a line's trace identifier.
const traceIDKey = "trace_id"

// An exportHandler exports the records that are written too: the level of the
// log is for both. A record whose context has no span belongs to the trace that
// it names, so that a collector shows it beside the trace.
type exportHandler struct {
	slog.Handler
	written slog.Handler
}

func (h *exportHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.written.Enabled(ctx, level) && h.Handler.Enabled(ctx, level)
}

func (h *exportHandler) Handle(ctx context.Context, record slog.Record) error {
	if !trace.SpanContextFromContext(ctx).HasTraceID() {
		record.Attrs(func(a slog.Attr) bool {
			if a.Key != traceIDKey {
				return true
			}
			if id, err := trace.TraceIDFromHex(a.Value.String()); err == nil {
				ctx = trace.ContextWithSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{TraceID: id}))
			}
			return false
		})
	}
	return h.Handler.Handle(ctx, record)
}

func (h *exportHandler) WithAttrs(attributes []slog.Attr) slog.Handler {
	return &exportHandler{Handler: h.Handler.WithAttrs(attributes), written: h.written}
}

func (h *exportHandler) WithGroup(name string) slog.Handler {
	return &exportHandler{Handler: h.Handler.WithGroup(name), written: h.written}
}
