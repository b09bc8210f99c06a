package telemetry

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
)

// reportEvery is the shortest time between two lines about exporting.
const reportEvery = time.Minute

// reportTo sends what goes wrong inside OpenTelemetry to log.
func reportTo(log *slog.Logger) {
	r := &reporter{log: log}
	otel.SetErrorHandler(r)
	otel.SetLogger(logr.New(configurationSink{r}))
}

// A reporter logs at most one error a minute and says how many it kept back. It
// may be called concurrently.
type reporter struct {
	log *slog.Logger

	mu       sync.Mutex
	last     time.Time
	withheld int
}

func (r *reporter) Handle(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if !r.last.IsZero() && now.Sub(r.last) < reportEvery {
		r.withheld++
		return
	}
	r.log.Warn("telemetry is not getting out: the service is not affected",
		slog.Any("error", err), slog.Int("withheld", r.withheld))
	r.last, r.withheld = now, 0
}

// configurationSink takes what the libraries say about the environment. It
// leaves out the values, which may be secret (OTEL_EXPORTER_OTLP_HEADERS), and
// errors that quote them.
type configurationSink struct{ reporter *reporter }

func (s configurationSink) Error(_ error, message string, _ ...any) {
	s.reporter.Handle(fmt.Errorf("%s: check the OTEL_* environment variables", message))
}

func (s configurationSink) Init(logr.RuntimeInfo)          {}
func (s configurationSink) Enabled(int) bool               { return false }
func (s configurationSink) Info(int, string, ...any)       {}
func (s configurationSink) WithValues(...any) logr.LogSink { return s }
func (s configurationSink) WithName(string) logr.LogSink   { return s }
