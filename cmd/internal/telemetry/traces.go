package telemetry

import (
	"context"
	"fmt"
	"os"

	"go.opentelemetry.io/contrib/exporters/autoexport"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

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

// unusable says which variables led to an exporter that cannot be had.
func unusable(exporter, protocol string, err error) error {
	return fmt.Errorf("telemetry: %s is %q and %s is %q: %w: correct them or unset both",
		exporter, os.Getenv(exporter), nameOfSet(protocol), firstSet(protocol, envProtocol), err)
}

// nameOfSet is name where it has a value, and otherwise the variable that
// stands for all signals.
func nameOfSet(name string) string {
	if os.Getenv(name) != "" {
		return name
	}
	return envProtocol
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
