package telemetry

import (
	"context"
	"fmt"
	"net/http"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/contrib/exporters/autoexport"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
)

func (t *Telemetry) setupMetrics(ctx context.Context, asked environment, scrape bool, described *resource.Resource) error {
	readers, err := t.readers(ctx, asked, scrape)
	if err != nil || len(readers) == 0 {
		return err
	}
	options := []sdkmetric.Option{sdkmetric.WithResource(described)}
	for _, reader := range readers {
		options = append(options, sdkmetric.WithReader(reader))
	}
	provider := sdkmetric.NewMeterProvider(options...)
	t.Metrics = provider
	t.shutdown = append(t.shutdown, provider.Shutdown)
	return nil
}

// readers are the ways out of the metrics. A scrape that the program serves
// itself stands for the prometheus exporter, which would open a port of its own.
func (t *Telemetry) readers(ctx context.Context, asked environment, scrape bool) ([]sdkmetric.Reader, error) {
	var readers []sdkmetric.Reader
	if scrape {
		registry := prometheus.NewRegistry()
		registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
		t.Handler = scrapeHandler(registry)
		if !asked.disabled {
			reader, err := otelprometheus.New(otelprometheus.WithRegisterer(registry))
			if err != nil {
				return nil, fmt.Errorf("telemetry: metrics to scrape: %w", err)
			}
			readers = append(readers, reader)
		}
	}
	if asked.metrics && !(scrape && os.Getenv(envMetrics) == exporterPrometheus) {
		reader, err := autoexport.NewMetricReader(ctx)
		if err != nil {
			return nil, unusable(envMetrics, envMetricsProtocol, err)
		}
		readers = append(readers, reader)
	}
	return readers, nil
}

func scrapeHandler(registry *prometheus.Registry) http.Handler {
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		Registry:            registry,
		MaxRequestsInFlight: 4,
		ErrorHandling:       promhttp.ContinueOnError,
	})
}
