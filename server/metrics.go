package server

import (
	"context"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"securechat/auth"
	"securechat/certs"
)

// metrics are the server's instruments. What happens for every message is an
// atomic that is read when somebody asks.
type metrics struct {
	streams      metric.Int64UpDownCounter
	refusals     metric.Int64Counter
	cuts         metric.Int64Counter
	closed       metric.Int64Counter
	latency      metric.Float64Histogram
	received     atomic.Int64
	acknowledged atomic.Int64
}

func newMetrics(meter metric.Meter, source certs.Source, now func() time.Time) (*metrics, error) {
	m := &metrics{}
	instruments := []func() error{
		func() (err error) {
			m.streams, err = meter.Int64UpDownCounter("securechat.streams.live",
				metric.WithUnit("{stream}"), metric.WithDescription("Streams that are open now."))
			return err
		},
		func() (err error) {
			m.refusals, err = meter.Int64Counter("securechat.refusals",
				metric.WithUnit("{call}"), metric.WithDescription("Calls and connections refused, by reason."))
			return err
		},
		func() (err error) {
			m.cuts, err = meter.Int64Counter("securechat.cuts",
				metric.WithUnit("{stream}"), metric.WithDescription("Streams that the server ended after admission, by reason."))
			return err
		},
		func() (err error) {
			m.closed, err = meter.Int64Counter("securechat.connections.closed",
				metric.WithUnit("{connection}"), metric.WithDescription("Connections that the server closed for what their clients did."))
			return err
		},
		func() (err error) {
			m.latency, err = meter.Float64Histogram("securechat.acknowledgement.duration",
				metric.WithUnit("s"), metric.WithDescription("From a message read to its acknowledgement handed to the transport, measured on a stream's first message and every sixteenth after it."),
				metric.WithExplicitBucketBoundaries(1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 5e-3, 1e-2, 0.1, 1))
			return err
		},
		func() error { return m.observeMessages(meter) },
		func() error { return observeExpiry(meter, source, now) },
	}
	for _, create := range instruments {
		if err := create(); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) observeMessages(meter metric.Meter) error {
	received := metric.WithAttributeSet(attribute.NewSet(attribute.String("direction", "received")))
	acknowledged := metric.WithAttributeSet(attribute.NewSet(attribute.String("direction", "acknowledged")))
	_, err := meter.Int64ObservableCounter("securechat.messages",
		metric.WithUnit("{message}"), metric.WithDescription("Messages received and acknowledged."),
		metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error {
			o.Observe(m.received.Load(), received)
			o.Observe(m.acknowledged.Load(), acknowledged)
			return nil
		}))
	return err
}

// observeExpiry shows how long the server's certificate, those of its chain, the
// roots it trusts and the revocation lists are still valid.
func observeExpiry(meter metric.Meter, source certs.Source, now func() time.Time) error {
	_, err := meter.Float64ObservableGauge("securechat.certificate.expiry",
		metric.WithUnit("s"), metric.WithDescription("Seconds until a certificate expires or a revocation list is due; negative once that is past."),
		metric.WithFloat64Callback(func(_ context.Context, o metric.Float64Observer) error {
			for _, expiry := range source.Material().Expiries() {
				o.Observe(expiry.At.Sub(now()).Seconds(), metric.WithAttributes(
					attribute.String("use", expiry.Part), attribute.String("subject", expiry.Name), attribute.String("serial", expiry.Serial)))
			}
			return nil
		}))
	return err
}

func (m *metrics) live(ctx context.Context, change int64) { m.streams.Add(ctx, change) }

func (m *metrics) refused(ctx context.Context, method string, reason auth.Reason) {
	m.refusals.Add(ctx, 1, metric.WithAttributes(attribute.String("reason", string(reason)), attribute.String("method", method)))
}

func (m *metrics) cut(ctx context.Context, reason auth.Reason) {
	m.cuts.Add(ctx, 1, metric.WithAttributes(attribute.String("reason", string(reason))))
}
