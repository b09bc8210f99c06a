//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// jaegerConfig is an all-in-one Jaeger with its store in memory: OTLP over HTTP
// in, the query API out.
const jaegerConfig = `
service:
  extensions: [jaeger_storage, jaeger_query]
  pipelines:
    traces: {receivers: [otlp], exporters: [jaeger_storage_exporter]}
  telemetry:
    metrics: {level: none}
    logs: {level: warn}
extensions:
  jaeger_storage:
    backends: {memory: {memory: {max_traces: 10000}}}
  jaeger_query:
    storage: {traces: memory}
    http: {endpoint: "127.0.0.1:%[2]s"}
    grpc: {endpoint: "127.0.0.1:%[3]s"}
receivers:
  otlp: {protocols: {http: {endpoint: "127.0.0.1:%[1]s"}}}
exporters:
  jaeger_storage_exporter: {trace_storage: memory}
`

// jaeger is a running Jaeger.
type jaeger struct {
	t      *testing.T
	client *http.Client
	otlp   string
	query  string
}

func startJaeger(t *testing.T) *jaeger {
	t.Helper()
	binary := build(t, filepath.Join("..", "..", ".ci", "jaeger"), "github.com/jaegertracing/jaeger/cmd/jaeger")
	ports := freePorts(t, 3)
	otlp, query, grpc := ports[0], ports[1], ports[2]
	config := filepath.Join(t.TempDir(), "jaeger.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, jaegerConfig, otlp, query, grpc), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, nil, binary, "--config", config)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	j := &jaeger{t: t, client: client, otlp: "http://127.0.0.1:" + otlp, query: "http://127.0.0.1:" + query}
	eventually(t, "jaeger answers", func() error {
		_, err := j.traces("nobody")
		return err
	})
	return j
}

// A span as Jaeger's query API has it.
type span struct {
	TraceID       string      `json:"traceID"`
	SpanID        string      `json:"spanID"`
	OperationName string      `json:"operationName"`
	References    []reference `json:"references"`
	Tags          []tag       `json:"tags"`
	ProcessID     string      `json:"processID"`
	Warnings      []string    `json:"warnings"`
	service       string
}

type reference struct {
	RefType string `json:"refType"`
	TraceID string `json:"traceID"`
	SpanID  string `json:"spanID"`
}

type tag struct {
	Key   string `json:"key"`
	Value any    `json:"value"`
}

type jaegerTrace struct {
	TraceID   string   `json:"traceID"`
	Spans     []span   `json:"spans"`
	Warnings  []string `json:"warnings"`
	Processes map[string]struct {
		ServiceName string `json:"serviceName"`
		Tags        []tag  `json:"tags"`
	} `json:"processes"`
}

// traces returns what Jaeger has of a service.
func (j *jaeger) traces(service string) ([]jaegerTrace, error) {
	response, err := j.client.Get(j.query + "/api/traces?limit=1000&service=" + url.QueryEscape(service))
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, errors.New(response.Status)
	}
	var answer struct {
		Data []jaegerTrace `json:"data"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return nil, err
	}
	for _, trace := range answer.Data {
		for i := range trace.Spans {
			trace.Spans[i].service = trace.Processes[trace.Spans[i].ProcessID].ServiceName
		}
	}
	return answer.Data, nil
}

// find returns the one span of a service and a name in a trace.
func (trace jaegerTrace) find(service, name string) (span, error) {
	var found []span
	for _, s := range trace.Spans {
		if s.service == service && s.OperationName == name {
			found = append(found, s)
		}
	}
	if len(found) != 1 {
		return span{}, fmt.Errorf("trace %s has %d spans %s of %s among %d, want one", trace.TraceID, len(found), name, service, len(trace.Spans))
	}
	return found[0], nil
}

func (s span) refersTo(kind string, other span) bool {
	return slices.Contains(s.References, reference{RefType: kind, TraceID: other.TraceID, SpanID: other.SpanID})
}

func (s span) tag(key string) any {
	for _, t := range s.Tags {
		if t.Key == key {
			return t.Value
		}
	}
	return nil
}

// dev starts "chatd dev" and returns the environment in which "chat" finds it.
func dev(t *testing.T, chatd string, otel ...string) (*process, []string) {
	t.Helper()
	home := t.TempDir()
	env := append([]string{
		"XDG_CONFIG_HOME=" + filepath.Join(home, "config"),
		"XDG_STATE_HOME=" + filepath.Join(home, "state"),
		"OTEL_BSP_SCHEDULE_DELAY=100",
	}, otel...)
	server := run(t, env, chatd, "dev", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
	server.line(server.stderr, "ready")
	return server, env
}

func TestOneMessageIsOneTraceInJaeger(t *testing.T) {
	j := startJaeger(t)
	root := filepath.Join("..", "..")
	chatd, chat := build(t, root, "./cmd/chatd"), build(t, root, "./cmd/chat")
	_, env := dev(t, chatd, "OTEL_EXPORTER_OTLP_ENDPOINT="+j.otlp)

	client := run(t, env, chat, "--context", "bob", "send")
	client.say("How are you?\n")
	client.line(client.stdout, "Acknowledged: How are you?")

	// The stream is open still: nothing of what follows waits for its end.
	eventually(t, "the message's trace", func() error { return j.messageTrace() })

	if err := client.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if code := client.wait(); code != 0 {
		t.Errorf("chat send: exit code %d", code)
	}
}

// messageTrace looks for the trace of the message that chat has sent.
func (j *jaeger) messageTrace() error {
	traces, err := j.traces("chat")
	if err != nil {
		return err
	}
	var message, opening *jaegerTrace
	for i, trace := range traces {
		if _, err := trace.find("chat", "send"); err == nil {
			message = &traces[i]
		}
		if _, err := trace.find("chat", "connect"); err == nil {
			opening = &traces[i]
		}
	}
	if message == nil || opening == nil {
		return fmt.Errorf("%d traces of chat, none with send or none with connect", len(traces))
	}
	var errs []error
	find := func(trace *jaegerTrace, service, name string) span {
		s, err := trace.find(service, name)
		errs = append(errs, err)
		return s
	}
	want := func(holds bool, what string) {
		if !holds {
			errs = append(errs, errors.New(what))
		}
	}
	send, process, receive := find(message, "chat", "send"), find(message, "chatd", "process"), find(message, "chat", "receive")
	clientConnect, serverConnect := find(opening, "chat", "connect"), find(opening, "chatd", "connect")
	want(process.refersTo("CHILD_OF", send), "process is no child of send")
	want(receive.refersTo("CHILD_OF", process), "receive is no child of process")
	want(serverConnect.refersTo("CHILD_OF", clientConnect), "the server's connect is no child of the client's")
	want(send.refersTo("FOLLOWS_FROM", clientConnect), "send does not link to connect")
	want(receive.refersTo("FOLLOWS_FROM", clientConnect), "receive does not link to connect")
	want(process.refersTo("FOLLOWS_FROM", serverConnect), "process does not link to connect")
	want(len(message.Spans) == 3, fmt.Sprintf("the message's trace has %d spans, want 3", len(message.Spans)))
	want(process.tag("rpc.method") == "chat.Chat/chatStream", "process has no rpc.method chat.Chat/chatStream")
	want(process.tag("enduser.id") == "bob", "process has no enduser.id bob")
	for _, trace := range traces {
		want(len(trace.Warnings) == 0, fmt.Sprintf("trace %s has warnings %q", trace.TraceID, trace.Warnings))
		for _, s := range trace.Spans {
			want(len(s.Warnings) == 0, fmt.Sprintf("span %s of %s has warnings %q", s.OperationName, s.service, s.Warnings))
		}
	}
	return errors.Join(errs...)
}

func TestRefusalIsAnErrorInJaeger(t *testing.T) {
	j := startJaeger(t)
	root := filepath.Join("..", "..")
	chatd, chat := build(t, root, "./cmd/chatd"), build(t, root, "./cmd/chat")
	_, env := dev(t, chatd, "OTEL_EXPORTER_OTLP_ENDPOINT="+j.otlp)

	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("not-a-token"), 0o600); err != nil {
		t.Fatal(err)
	}
	client := run(t, env, chat, "--context", "bob", "--token-file", token, "send", "Hello")
	if code := client.wait(); code != 4 {
		t.Errorf("chat send with a malformed token: exit code %d, want 4", code)
	}
	eventually(t, "the refusal's span", func() error {
		traces, err := j.traces("chatd")
		if err != nil {
			return err
		}
		for _, trace := range traces {
			s, err := trace.find("chatd", "connect")
			if err == nil && s.tag("error") == true && s.tag("error.type") == "TOKEN_MALFORMED" && s.tag("rpc.response.status_code") == "UNAUTHENTICATED" {
				return nil
			}
		}
		return fmt.Errorf("%d traces of chatd, none with a refused connect", len(traces))
	})
}
