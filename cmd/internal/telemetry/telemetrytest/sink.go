// Package telemetrytest has a collector for tests: it takes spans and log records
// by OTLP over HTTP, keeps them, and lets a test wait for spans.
package telemetrytest

import (
	"compress/gzip"
	"context"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	logscollector "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// maxBody bounds one request, in bytes.
const maxBody = 16 << 20

// A Span is one that a Sink received, with its identifiers in hexadecimal.
type Span struct {
	Name, TraceID, SpanID, ParentID string
	Kind                            tracepb.Span_SpanKind
	Links                           []Link
	Attributes                      map[string]string
	// Resource describes the process that made the span.
	Resource map[string]string
}

// A Link points to another span.
type Link struct{ TraceID, SpanID string }

// A Record is a log record that a Sink received.
type Record struct {
	Severity, Body, TraceID string
	Attributes              map[string]string
	// Resource describes the process that wrote the record.
	Resource map[string]string
}

// A Sink is a collector on loopback. It may be used concurrently.
type Sink struct {
	server *httptest.Server

	mu      sync.Mutex
	spans   []Span
	records []Record
	arrived chan struct{} // closed at the next arrival
}

// NewSink starts a collector that ends with the test.
func NewSink(t testing.TB) *Sink {
	t.Helper()
	s := &Sink{arrived: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/traces", s.takeSpans)
	mux.HandleFunc("POST /v1/logs", s.takeRecords)
	s.server = httptest.NewServer(mux)
	t.Cleanup(s.server.Close)
	return s
}

// URL is what OTEL_EXPORTER_OTLP_ENDPOINT is to be.
func (s *Sink) URL() string { return s.server.URL }

// Spans returns what has arrived so far.
func (s *Sink) Spans() []Span {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Span(nil), s.spans...)
}

// Records returns the log records that have arrived so far.
func (s *Sink) Records() []Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Record(nil), s.records...)
}

// Wait returns what has arrived as soon as enough says that it is enough. The
// test fails if that takes more than limit.
func (s *Sink) Wait(t testing.TB, limit time.Duration, enough func([]Span) bool) []Span {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for {
		s.mu.Lock()
		spans, arrived := append([]Span(nil), s.spans...), s.arrived
		s.mu.Unlock()
		if enough(spans) {
			return spans
		}
		select {
		case <-arrived:
		case <-ctx.Done():
			t.Fatalf("within %v only these spans arrived: %+v", limit, spans)
		}
	}
}

// Named returns those of spans that have the name.
func Named(spans []Span, name string) []Span {
	var named []Span
	for _, span := range spans {
		if span.Name == name {
			named = append(named, span)
		}
	}
	return named
}

func (s *Sink) takeSpans(w http.ResponseWriter, r *http.Request) {
	request := &collector.ExportTraceServiceRequest{}
	if !decode(w, r, request) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, resource := range request.ResourceSpans {
		described := attributes(resource.GetResource().GetAttributes())
		for _, scope := range resource.ScopeSpans {
			for _, span := range scope.Spans {
				s.spans = append(s.spans, readSpan(span, described))
			}
		}
	}
	close(s.arrived)
	s.arrived = make(chan struct{})
}

func (s *Sink) takeRecords(w http.ResponseWriter, r *http.Request) {
	request := &logscollector.ExportLogsServiceRequest{}
	if !decode(w, r, request) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, resource := range request.ResourceLogs {
		described := attributes(resource.GetResource().GetAttributes())
		for _, scope := range resource.ScopeLogs {
			for _, record := range scope.LogRecords {
				s.records = append(s.records, Record{
					Severity:   record.SeverityText,
					Body:       record.GetBody().GetStringValue(),
					TraceID:    hex.EncodeToString(record.TraceId),
					Attributes: attributes(record.Attributes),
					Resource:   described,
				})
			}
		}
	}
}

// decode reads the request and answers it, with 400 where it cannot be read.
func decode(w http.ResponseWriter, r *http.Request, request proto.Message) bool {
	raw, err := readBody(r)
	if err == nil {
		err = proto.Unmarshal(raw, request)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return false
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
	return true
}

func readBody(r *http.Request) ([]byte, error) {
	body := io.Reader(http.MaxBytesReader(nil, r.Body, maxBody))
	if r.Header.Get("Content-Encoding") == "gzip" {
		unpacked, err := gzip.NewReader(body)
		if err != nil {
			return nil, err
		}
		body = unpacked
	}
	return io.ReadAll(body)
}

func readSpan(span *tracepb.Span, described map[string]string) Span {
	result := Span{
		Name:       span.Name,
		TraceID:    hex.EncodeToString(span.TraceId),
		SpanID:     hex.EncodeToString(span.SpanId),
		ParentID:   hex.EncodeToString(span.ParentSpanId),
		Kind:       span.Kind,
		Attributes: attributes(span.Attributes),
		Resource:   described,
	}
	for _, link := range span.Links {
		result.Links = append(result.Links, Link{TraceID: hex.EncodeToString(link.TraceId), SpanID: hex.EncodeToString(link.SpanId)})
	}
	return result
}

func attributes(pairs []*common.KeyValue) map[string]string {
	result := make(map[string]string, len(pairs))
	for _, pair := range pairs {
		value := pair.GetValue()
		if text, ok := value.GetValue().(*common.AnyValue_StringValue); ok {
			result[pair.Key] = text.StringValue
			continue
		}
		result[pair.Key] = value.String()
	}
	return result
}
