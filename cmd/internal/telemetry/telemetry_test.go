package telemetry_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel"
	"go.uber.org/goleak"

	"securechat/cmd/internal/telemetry"
	"securechat/cmd/internal/telemetry/telemetrytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// setEnvironment gives the test these OTEL_* variables and no others.
func setEnvironment(t *testing.T, variables map[string]string) {
	t.Helper()
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "OTEL_") {
			t.Setenv(name, "")
		}
	}
	for name, value := range variables {
		t.Setenv(name, value)
	}
}

func setup(t *testing.T, o telemetry.Options, log *bytes.Buffer) *telemetry.Telemetry {
	t.Helper()
	o.Log = slog.New(slog.NewTextHandler(log, nil))
	tel, err := telemetry.Setup(t.Context(), o)
	if err != nil {
		t.Fatalf("Setup: %v", err)
	}
	return tel
}

func TestWhatTheEnvironmentAsksFor(t *testing.T) {
	tests := []struct {
		name    string
		env     map[string]string
		always  bool
		tracing bool
		goes    string
	}{
		{name: "nothing set", tracing: false},
		{name: "exporter none", env: map[string]string{"OTEL_TRACES_EXPORTER": "none"}},
		{name: "none goes before an endpoint", env: map[string]string{"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}},
		{name: "disabled goes before an endpoint", env: map[string]string{"OTEL_SDK_DISABLED": "True", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}},
		{name: "disabled goes before always", env: map[string]string{"OTEL_SDK_DISABLED": "true"}, always: true},
		{name: "an endpoint for metrics alone", env: map[string]string{"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://127.0.0.1:1"}},

		{name: "always, going nowhere", always: true, tracing: true},
		{name: "exporter otlp has a default endpoint", env: map[string]string{"OTEL_TRACES_EXPORTER": "otlp"}, tracing: true, goes: "http://localhost:4318 (http/protobuf)"},
		{name: "the default endpoint of gRPC", env: map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, tracing: true, goes: "http://localhost:4317 (grpc)"},
		{name: "an endpoint for all", env: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, tracing: true, goes: "http://127.0.0.1:1 (http/protobuf)"},
		{name: "an endpoint for traces", env: map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://u:secret@127.0.0.1:1/v1/traces?key=secret"}, tracing: true, goes: "http://127.0.0.1:1/v1/traces (http/protobuf)"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			setEnvironment(t, test.env)
			var log bytes.Buffer
			tel := setup(t, telemetry.Options{Service: "test", Always: test.always}, &log)
			if got := tel.Tracing != nil; got != test.tracing {
				t.Errorf("spans are made: %v, want %v", got, test.tracing)
			}
			if tel.Destination != test.goes {
				t.Errorf("Destination is %q, want %q", tel.Destination, test.goes)
			}
			if tel.Handler != nil {
				t.Error("there is a handler although nobody asked for it")
			}
			if tel.Metrics == nil {
				t.Error("Metrics is nil")
			}
			if err := tel.Shutdown(bounded(t, time.Second)); err != nil && test.env["OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"] == "" {
				t.Errorf("Shutdown: %v", err)
			}
			if test.env["OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"] == "" && log.Len() > 0 {
				t.Errorf("it was not silent: %s", &log)
			}
		})
	}
}

func bounded(t *testing.T, limit time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

func TestUnusableEnvironmentIsRefusedByName(t *testing.T) {
	tests := []struct {
		name string
		env  map[string]string
		says string
	}{
		{"unknown trace exporter", map[string]string{"OTEL_TRACES_EXPORTER": "pigeon"}, `OTEL_TRACES_EXPORTER is "pigeon"`},
		{"unknown protocol", map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "smtp"}, `OTEL_EXPORTER_OTLP_PROTOCOL is "smtp"`},
		{"unknown protocol of traces", map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "smtp"}, `OTEL_EXPORTER_OTLP_TRACES_PROTOCOL is "smtp"`},
		{"unknown logs exporter", map[string]string{"OTEL_LOGS_EXPORTER": "pigeon"}, `OTEL_LOGS_EXPORTER is "pigeon"`},
		{"unknown protocol of logs", map[string]string{"OTEL_LOGS_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL": "smtp"}, `OTEL_EXPORTER_OTLP_LOGS_PROTOCOL is "smtp"`},
		{"a list of trace exporters", map[string]string{"OTEL_TRACES_EXPORTER": "otlp,console"}, `OTEL_TRACES_EXPORTER is "otlp,console": only one`},
		{"a list of metrics exporters", map[string]string{"OTEL_METRICS_EXPORTER": "prometheus,otlp"}, `OTEL_METRICS_EXPORTER is "prometheus,otlp": only one`},
		{"a list of logs exporters", map[string]string{"OTEL_LOGS_EXPORTER": "otlp,console"}, `OTEL_LOGS_EXPORTER is "otlp,console": only one`},
		{"unknown metrics exporter", map[string]string{"OTEL_METRICS_EXPORTER": "pigeon"}, `OTEL_METRICS_EXPORTER is "pigeon"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			setEnvironment(t, test.env)
			_, err := telemetry.Setup(t.Context(), telemetry.Options{Service: "test", Log: slog.New(slog.DiscardHandler)})
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Fatalf("Setup: %v, want an error that says %q", err, test.says)
			}
		})
	}
}

func TestSpansArriveWithTheirResource(t *testing.T) {
	sink := telemetrytest.NewSink(t)
	setEnvironment(t, map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": sink.URL(),
		"OTEL_RESOURCE_ATTRIBUTES":    "deployment.environment.name=test,service.version=from-environment",
	})
	var log bytes.Buffer
	tel := setup(t, telemetry.Options{Service: "given", Version: "v1"}, &log)
	_, span := tel.Tracing.Tracer("test").Start(t.Context(), "one")
	span.End()
	if err := tel.Shutdown(bounded(t, 5*time.Second)); err != nil {
		t.Fatalf("Shutdown: %v", err)
	}
	spans := sink.Spans()
	if len(spans) != 1 || spans[0].Name != "one" {
		t.Fatalf("got %+v, want the one span", spans)
	}
	described := spans[0].Resource
	for name, want := range map[string]string{
		"service.name":                "given",
		"service.version":             "from-environment",
		"deployment.environment.name": "test",
	} {
		if described[name] != want {
			t.Errorf("%s is %q, want %q", name, described[name], want)
		}
	}
	if described["host.name"] == "" || net.ParseIP(described["ip"]) == nil {
		t.Errorf("host.name is %q and ip is %q: Jaeger would warn of clock skew", described["host.name"], described["ip"])
	}
	if log.Len() > 0 {
		t.Errorf("it was not silent: %s", &log)
	}
}

func TestServiceNameOfTheEnvironmentGoesFirst(t *testing.T) {
	sink := telemetrytest.NewSink(t)
	setEnvironment(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": sink.URL(), "OTEL_SERVICE_NAME": "theirs"})
	tel := setup(t, telemetry.Options{Service: "ours"}, &bytes.Buffer{})
	_, span := tel.Tracing.Tracer("test").Start(t.Context(), "one")
	span.End()
	if err := tel.Shutdown(bounded(t, 5*time.Second)); err != nil {
		t.Fatalf("Shutdown: %v", err)
	}
	if got := sink.Spans()[0].Resource["service.name"]; got != "theirs" {
		t.Errorf("service.name is %q", got)
	}
}

func TestSamplerOfTheEnvironment(t *testing.T) {
	tests := []struct {
		sampler, argument string
		spans             int
	}{
		{"always_off", "", 0},
		{"traceidratio", "0", 0},
		{"always_on", "", 1},
	}
	for _, test := range tests {
		t.Run(test.sampler, func(t *testing.T) {
			sink := telemetrytest.NewSink(t)
			setEnvironment(t, map[string]string{
				"OTEL_EXPORTER_OTLP_ENDPOINT": sink.URL(),
				"OTEL_TRACES_SAMPLER":         test.sampler,
				"OTEL_TRACES_SAMPLER_ARG":     test.argument,
			})
			tel := setup(t, telemetry.Options{Service: "test"}, &bytes.Buffer{})
			_, span := tel.Tracing.Tracer("test").Start(t.Context(), "one")
			span.End()
			if err := tel.Shutdown(bounded(t, 5*time.Second)); err != nil {
				t.Fatalf("Shutdown: %v", err)
			}
			if got := len(sink.Spans()); got != test.spans {
				t.Errorf("%d spans arrived, want %d", got, test.spans)
			}
		})
	}
}

// Nothing listens at the endpoint, and the exporter would retry for a minute.
func TestCollectorDown(t *testing.T) {
	for _, protocol := range []string{"http/protobuf", "grpc"} {
		t.Run(protocol, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			endpoint := "http://" + listener.Addr().String()
			if err := listener.Close(); err != nil {
				t.Fatal(err)
			}
			setEnvironment(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol})
			var log bytes.Buffer
			tel := setup(t, telemetry.Options{Service: "test"}, &log)
			for range 2000 { // several batches
				_, span := tel.Tracing.Tracer("test").Start(t.Context(), "lost")
				span.End()
			}
			began := time.Now()
			_ = tel.Shutdown(bounded(t, 300*time.Millisecond))
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("Shutdown took %v", took)
			}
			if lines := strings.Count(log.String(), "\n"); lines > 1 {
				t.Errorf("it logged %d lines, want one at most: %s", lines, &log)
			}
		})
	}
}

func TestErrorsAreLoggedOnceAMinute(t *testing.T) {
	setEnvironment(t, map[string]string{"OTEL_TRACES_EXPORTER": "otlp"})
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		tel := setup(t, telemetry.Options{Service: "test"}, &log)
		count := func(want int) {
			t.Helper()
			if got := strings.Count(log.String(), "\n"); got != want {
				t.Fatalf("%d lines, want %d: %s", got, want, &log)
			}
		}
		for range 100 {
			otel.Handle(errors.New("collector is down"))
		}
		count(1)
		time.Sleep(59 * time.Second) // the bubble's clock
		otel.Handle(errors.New("collector is down"))
		count(1)
		time.Sleep(2 * time.Second) // the bubble's clock
		otel.Handle(errors.New("collector is down"))
		count(2)
		if !strings.Contains(log.String(), "withheld=100") {
			t.Errorf("the second line does not say how many were kept back: %s", &log)
		}
		if err := tel.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	})
}

func TestHeadersStayOutOfTheLog(t *testing.T) {
	sink := telemetrytest.NewSink(t)
	setEnvironment(t, map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": sink.URL(),
		"OTEL_EXPORTER_OTLP_HEADERS":  "a-secret-without-an-equals-sign",
	})
	var log bytes.Buffer
	tel := setup(t, telemetry.Options{Service: "test"}, &log)
	if err := tel.Shutdown(bounded(t, 5*time.Second)); err != nil {
		t.Fatalf("Shutdown: %v", err)
	}
	if strings.Contains(log.String(), "a-secret") {
		t.Errorf("the log quotes the header: %s", &log)
	}
	if !strings.Contains(log.String(), "OTEL_") {
		t.Errorf("the log does not say what to check: %s", &log)
	}
}

func TestScrape(t *testing.T) {
	// The prometheus exporter would open a port of its own, here one that is taken.
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	host, port, err := net.SplitHostPort(taken.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, exporter := range []string{"", "prometheus"} {
		t.Run("exporter "+exporter, func(t *testing.T) {
			setEnvironment(t, map[string]string{
				"OTEL_METRICS_EXPORTER":         exporter,
				"OTEL_EXPORTER_PROMETHEUS_HOST": host,
				"OTEL_EXPORTER_PROMETHEUS_PORT": port,
			})
			tel := setup(t, telemetry.Options{Service: "scraped", Scrape: true}, &bytes.Buffer{})
			counter, err := tel.Metrics.Meter("test").Int64Counter("things.done")
			if err != nil {
				t.Fatal(err)
			}
			counter.Add(t.Context(), 3)
			answer := httptest.NewRecorder()
			tel.Handler.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
			for _, want := range []string{"things_done_total{", "} 3\n", "go_goroutines", "process_start_time_seconds", `service_name="scraped"`} {
				if !strings.Contains(answer.Body.String(), want) {
					t.Errorf("the scrape lacks %q: %s", want, answer.Body)
				}
			}
			if err := tel.Shutdown(bounded(t, time.Second)); err != nil {
				t.Errorf("Shutdown: %v", err)
			}
		})
	}
}
