package telemetry

import (
	"net/url"
	"os"
	"strings"
)

// The variables are those of the OpenTelemetry specification ("Environment
// Variable Specification" and "OpenTelemetry Protocol Exporter").
const (
	envDisabled        = "OTEL_SDK_DISABLED"
	envTraces          = "OTEL_TRACES_EXPORTER"
	envMetrics         = "OTEL_METRICS_EXPORTER"
	envEndpoint        = "OTEL_EXPORTER_OTLP_ENDPOINT"
	envTracesEndpoint  = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
	envMetricsEndpoint = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"
	envProtocol        = "OTEL_EXPORTER_OTLP_PROTOCOL"
	envTracesProtocol  = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
	envMetricsProtocol = "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL"
)

const (
	exporterNone       = "none"
	exporterOTLP       = "otlp"
	exporterPrometheus = "prometheus"

	protocolHTTP = "http/protobuf"
	protocolGRPC = "grpc"
)

// environment is what the variables ask for.
type environment struct {
	disabled, traces, metrics bool
}

func readEnvironment() environment {
	if strings.EqualFold(os.Getenv(envDisabled), "true") {
		return environment{disabled: true}
	}
	return environment{
		traces:  asks(envTraces, envTracesEndpoint, envEndpoint),
		metrics: asks(envMetrics, envMetricsEndpoint),
	}
}

// asks reports whether a signal is to be exported: an exporter is named, or
// none is but one of the endpoints is.
func asks(exporter string, endpoints ...string) bool {
	if named := os.Getenv(exporter); named != "" {
		return named != exporterNone
	}
	return firstSet(endpoints...) != ""
}

// firstSet is the value of the first variable that has one.
func firstSet(names ...string) string {
	for _, name := range names {
		if value := os.Getenv(name); value != "" {
			return value
		}
	}
	return ""
}

// traceDestination says where spans go, without the secrets that an endpoint
// may hold.
func traceDestination() string {
	if named := os.Getenv(envTraces); named != "" && named != exporterOTLP {
		return named
	}
	protocol := firstSet(envTracesProtocol, envProtocol)
	if protocol == "" {
		protocol = protocolHTTP
	}
	endpoint := firstSet(envTracesEndpoint, envEndpoint)
	if endpoint == "" {
		endpoint = "http://localhost:4318"
		if protocol == protocolGRPC {
			endpoint = "http://localhost:4317"
		}
	}
	return withoutSecrets(endpoint) + " (" + protocol + ")"
}

func withoutSecrets(endpoint string) string {
	parsed, err := url.Parse(endpoint)
	if err != nil || parsed.Host == "" {
		return "an OTLP endpoint"
	}
	return (&url.URL{Scheme: parsed.Scheme, Host: parsed.Host, Path: parsed.Path}).String()
}
