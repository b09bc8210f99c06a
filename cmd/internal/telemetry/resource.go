package telemetry

import (
	"context"
	"errors"
	"fmt"
	"net"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// describe says what this process is. The environment comes last, and so goes
// first. Jaeger takes host.name and ip as proof that two processes share a
// clock; without them it warns of skew.
func describe(ctx context.Context, o Options) (*resource.Resource, error) {
	described, err := resource.New(ctx,
		resource.WithTelemetrySDK(),
		resource.WithHost(),
		resource.WithProcessPID(),
		resource.WithProcessRuntimeName(),
		resource.WithProcessRuntimeVersion(),
		resource.WithAttributes(
			semconv.ServiceName(o.Service),
			semconv.ServiceVersion(o.Version),
			attribute.String("ip", hostAddress()),
		),
		resource.WithFromEnv(),
	)
	switch {
	case errors.Is(err, resource.ErrPartialResource):
		o.Log.Warn("some resource attributes are missing: check OTEL_RESOURCE_ATTRIBUTES, which is key=value,key=value")
		return described, nil
	case err != nil && !errors.Is(err, resource.ErrSchemaURLConflict):
		return nil, fmt.Errorf("telemetry: describe this process: %w", err)
	}
	return described, nil
}

// hostAddress is the host's first address that others can reach, IPv4 before
// IPv6, and the loopback address where it has none. Nothing is sent to find it.
func hostAddress() string {
	chosen := ""
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		addresses = nil
	}
	for _, address := range addresses {
		network, ok := address.(*net.IPNet)
		if !ok || !network.IP.IsGlobalUnicast() {
			continue
		}
		if network.IP.To4() != nil {
			return network.IP.String()
		}
		if chosen == "" {
			chosen = network.IP.String()
		}
	}
	if chosen == "" {
		return "127.0.0.1"
	}
	return chosen
}
