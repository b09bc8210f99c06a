package telemetry

import (
	"fmt"
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
	envLogs            = "OTEL_LOGS_EXPORTER"
	envEndpoint        = "OTEL_EXPORTER_OTLP_ENDPOINT"
	envTracesEndpoint  = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
	envMetricsEndpoint = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"
	envLogsEndpoint    = "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"
	envProtocol        = "OTEL_EXPORTER_OTLP_PROTOCOL"
	envTracesProtocol  = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
	envMetricsProtocol = "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL"
	envLogsProtocol    = "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL"
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
	disabled, traces, metrics, logs bool
}

// any reports whether something is to be exported.
func (e environment) any() bool { return e.traces || e.metrics || e.logs }

func readEnvironment() environment {
	if strings.EqualFold(os.Getenv(envDisabled), "true") {
		return environment{disabled: true}
	}
	return environment{
		traces:  asks(envTraces, envTracesEndpoint, envEndpoint),
		metrics: asks(envMetrics, envMetricsEndpoint),
		logs:    asks(envLogs, envLogsEndpoint),
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

// unusable says which variables led to an exporter that cannot be had.
func unusable(exporter, protocol string, err error) error {
	named := os.Getenv(exporter)
	if strings.Contains(named, ",") {
		return fmt.Errorf("telemetry: %s is %.100q: only one exporter is supported for each signal: name one, such as %s; a collector can pass on to several", exporter, named, exporterOTLP)
	}
	return fmt.Errorf("telemetry: %s is %.100q and %s is %.100q: %w: correct them or unset both",
		exporter, named, nameOfSet(protocol), firstSet(protocol, envProtocol), err)
}

// nameOfSet is name where it has a value, and otherwise the variable that
// stands for all signals.
func nameOfSet(name string) string {
	if os.Getenv(name) != "" {
		return name
	}
	return envProtocol
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
