package telemetry

import (
	"context"

	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

func (t *Telemetry) setupTraces(ctx context.Context, asked environment, always bool, described *resource.Resource) error {
	if asked.disabled || (!asked.traces && !always) {
		return nil
	}
	options := []sdktrace.TracerProviderOption{sdktrace.WithResource(described)}
	exports, stopExports := context.WithCancel(context.Background())
	if asked.traces {
		exporter, err := newSpanExporter(ctx, exports)
		if err != nil {
			stopExports()
			return err
		}
		options = append(options, sdktrace.WithBatcher(exporter))
		t.Destination = traceDestination()
	}
	provider := sdktrace.NewTracerProvider(options...)
	t.Tracing = provider
	t.atShutdown(stopExports, provider.Shutdown)
	return nil
}

// newSpanExporter returns the exporter that the environment names. Its exports
// end with the context exports: the batch processor drains its queue without
// regard to the context of its shutdown, and would retry for a minute.
func newSpanExporter(ctx, exports context.Context) (sdktrace.SpanExporter, error) {
	exporter, err := autoexport.NewSpanExporter(ctx)
	if err != nil {
		return nil, unusable(envTraces, envTracesProtocol, err)
	}
	return &stoppable{SpanExporter: exporter, exports: exports}, nil
}

type stoppable struct {
	sdktrace.SpanExporter
	exports context.Context
}

func (s *stoppable) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.exports, cancel)()
	return s.SpanExporter.ExportSpans(ctx, spans)
}
