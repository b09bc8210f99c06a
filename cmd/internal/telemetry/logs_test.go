package telemetry_test

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"

	"securechat/cmd/internal/telemetry"
	"securechat/cmd/internal/telemetry/telemetrytest"
)

func TestLogsGoNowhereUnlessAskedFor(t *testing.T) {
	sink := telemetrytest.NewSink(t)
	for _, test := range []struct {
		name string
		env  map[string]string
	}{
		{"nothing set", nil},
		// Jaeger takes traces alone.
		{"a collector for all signals", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": sink.URL()}},
		{"exporter none", map[string]string{"OTEL_LOGS_EXPORTER": "none", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": sink.URL() + "/v1/logs"}},
		{"disabled", map[string]string{"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": sink.URL() + "/v1/logs"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			setEnvironment(t, test.env)
			var text bytes.Buffer
			tel := setup(t, telemetry.Options{Service: "test"}, &text)
			tel.Log.Info("written")
			if err := tel.Shutdown(bounded(t, 5*time.Second)); err != nil {
				t.Errorf("Shutdown: %v", err)
			}
			if lines := strings.Count(text.String(), "\n"); lines != 1 {
				t.Errorf("%d lines instead of the one: %s", lines, &text)
			}
			if records := sink.Records(); len(records) > 0 {
				t.Errorf("%+v left", records)
			}
		})
	}
}

func TestLogsAreExportedBesideTheText(t *testing.T) {
	sink := telemetrytest.NewSink(t)
	for _, env := range []map[string]string{
		{"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": sink.URL() + "/v1/logs"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT": sink.URL(), "OTEL_LOGS_EXPORTER": "otlp", "OTEL_TRACES_EXPORTER": "none"},
	} {
		before := len(sink.Records())
		setEnvironment(t, env)
		var text bytes.Buffer
		tel := setup(t, telemetry.Options{Service: "logging", Version: "v1"}, &text)
		log := tel.Log.With("user", "alice").WithGroup("call")
		log.Debug("below the level of the log")
		log.Warn("refused", "reason", "TOKEN_EXPIRED", "error", errors.New("too late"))
		if err := tel.Shutdown(bounded(t, 5*time.Second)); err != nil {
			t.Fatalf("Shutdown: %v", err)
		}
		tel.Log.Info("written after the end of the exports")
		records := sink.Records()[before:]
		if len(records) != 1 {
			t.Fatalf("%d records arrived, want one: %+v", len(records), records)
		}
		r := records[0]
		if r.Severity != "WARN" || r.Body != "refused" || r.Attributes["user"] != "alice" || !strings.Contains(r.Attributes["call"], "TOKEN_EXPIRED") || r.Attributes["exception.message"] != "too late" {
			t.Errorf("the record is %+v", r)
		}
		if r.Resource["service.name"] != "logging" || r.Resource["service.version"] != "v1" {
			t.Errorf("its resource is %v", r.Resource)
		}
		if lines := strings.Count(text.String(), "\n"); lines != 2 || !strings.Contains(text.String(), "call.reason=TOKEN_EXPIRED") {
			t.Errorf("the text is not beside it: %s", &text)
		}
	}
}

// A collector shows a record beside the trace that it belongs to.
func TestExportedLogsNameTheirTrace(t *testing.T) {
	const id = "4bf92f3577b34da6a3ce929d0e0e4736"
	sink := telemetrytest.NewSink(t)
	setEnvironment(t, map[string]string{"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": sink.URL() + "/v1/logs"})
	tel := setup(t, telemetry.Options{Service: "test", Always: true}, &bytes.Buffer{})
	ctx, span := tel.Tracing.Tracer("test").Start(t.Context(), "one")
	span.End()
	tel.Log.InfoContext(t.Context(), "by attribute", "peer", "127.0.0.1", "trace_id", id)
	tel.Log.InfoContext(ctx, "by context", "trace_id", id)
	tel.Log.InfoContext(t.Context(), "of none", "trace_id", "not one")
	if err := tel.Shutdown(bounded(t, 5*time.Second)); err != nil {
		t.Fatalf("Shutdown: %v", err)
	}
	got := map[string]string{}
	for _, record := range sink.Records() {
		got[record.Body] = record.TraceID
	}
	want := map[string]string{"by attribute": id, "by context": trace.SpanContextFromContext(ctx).TraceID().String(), "of none": ""}
	for body, id := range want {
		if got[body] != id {
			t.Errorf("%q is of the trace %q, want %q", body, got[body], id)
		}
	}
}

// Text that is not UTF-8, which callers can have logged, keeps nothing from being
// exported: protobuf takes no such text, nor what else is in its message.
func TestTextThatIsNotUTF8IsExported(t *testing.T) {
	sink := telemetrytest.NewSink(t)
	setEnvironment(t, map[string]string{"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": sink.URL() + "/v1/logs"})
	tel := setup(t, telemetry.Options{Service: "test"}, &bytes.Buffer{})
	tel.Log.Info("the others")
	tel.Log.Info("by an attribute", "method", "/a\xff/b")
	tel.Log.Info("by its text \xff")
	tel.Log.Info("by its name", "\xff", 1)
	tel.Log.Info("by an error", "error", errors.New("\xff"))
	tel.Log.With("all", "\xff").WithGroup("call").Info("by a group", "in", slog.GroupValue(slog.String("deep", "\xff")))
	if err := tel.Shutdown(bounded(t, 5*time.Second)); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	got := map[string]map[string]string{}
	for _, record := range sink.Records() {
		got[record.Body] = record.Attributes
	}
	if len(got) != 6 || got["by an attribute"]["method"] != "/a\ufffd/b" || got["by its text \ufffd"] == nil {
		t.Errorf("the records that arrived are %q", got)
	}
}

// What is said about exporting is not exported: it would feed itself.
func TestProblemsOfExportingStayInTheText(t *testing.T) {
	sink := telemetrytest.NewSink(t)
	setEnvironment(t, map[string]string{"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": sink.URL() + "/v1/logs"})
	var text bytes.Buffer
	tel := setup(t, telemetry.Options{Service: "test"}, &text)
	otel.Handle(errors.New("collector is down"))
	if err := tel.Shutdown(bounded(t, 5*time.Second)); err != nil {
		t.Fatalf("Shutdown: %v", err)
	}
	if records := sink.Records(); len(records) > 0 || !strings.Contains(text.String(), "collector is down") {
		t.Errorf("exported: %+v; text: %s", records, &text)
	}
}

// Nothing listens at the endpoint, and the exporter would retry for a minute.
func TestCollectorOfLogsDown(t *testing.T) {
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
			setEnvironment(t, map[string]string{"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL": protocol})
			tel, err := telemetry.Setup(t.Context(), telemetry.Options{Service: "test", Log: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			// A discarded log exports nothing: the level is the text's.
			tel.Log.Error("lost")
			var text bytes.Buffer
			loud := setup(t, telemetry.Options{Service: "test"}, &text)
			for range 2000 { // several batches
				loud.Log.Info("lost")
			}
			began := time.Now()
			if err := tel.Shutdown(bounded(t, 300*time.Millisecond)); err != nil {
				t.Errorf("Shutdown with nothing to export: %v", err)
			}
			_ = loud.Shutdown(bounded(t, 300*time.Millisecond))
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("Shutdown took %v", took)
			}
		})
	}
}
