package server

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"securechat/server/room"
)

// roomMetrics are the instruments of the rooms that are recorded as things happen,
// once a commit; the others ask the hub when somebody asks them.
type roomMetrics struct {
	latency metric.Float64Histogram
	batch   metric.Int64Histogram
	stored  metric.MeasurementOption
	failed  metric.MeasurementOption
}

func newRoomMetrics(meter metric.Meter) (*roomMetrics, error) {
	outcome := func(text string) metric.MeasurementOption {
		return metric.WithAttributeSet(attribute.NewSet(attribute.String("outcome", text)))
	}
	m := &roomMetrics{stored: outcome("stored"), failed: outcome("failed")}
	var err, err2 error
	m.latency, err = meter.Float64Histogram("securechat.log.append.duration",
		metric.WithUnit("s"), metric.WithDescription("How long a commit to the log takes."),
		metric.WithExplicitBucketBoundaries(1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.5, 1, 5))
	m.batch, err2 = meter.Int64Histogram("securechat.log.append.messages",
		metric.WithUnit("{message}"), metric.WithDescription("How many messages share a commit to the log."),
		metric.WithExplicitBucketBoundaries(1, 2, 4, 8, 16, 32, 64, 128, 256, 512))
	return m, errors.Join(err, err2)
}

func (m *roomMetrics) appended(entries int, took time.Duration, err error) {
	outcome := m.stored
	if err != nil {
		outcome = m.failed
	}
	ctx := context.Background()
	m.latency.Record(ctx, took.Seconds(), outcome)
	m.batch.Record(ctx, int64(entries), outcome)
}

// observeHub shows what the hub counts.
func observeHub(meter metric.Meter, hub *room.Hub) error {
	var observers []metric.Observable
	var problems []error
	gauge := func(name, unit, description string) metric.Int64ObservableUpDownCounter {
		i, err := meter.Int64ObservableUpDownCounter(name, metric.WithUnit(unit), metric.WithDescription(description))
		observers, problems = append(observers, i), append(problems, err)
		return i
	}
	counter := func(name, unit, description string) metric.Int64ObservableCounter {
		i, err := meter.Int64ObservableCounter(name, metric.WithUnit(unit), metric.WithDescription(description))
		observers, problems = append(observers, i), append(problems, err)
		return i
	}
	open := gauge("securechat.rooms.open", "{room}", "Rooms that are in use on this server.")
	members := gauge("securechat.rooms.members", "{stream}", "Streams that are in a room.")
	queued := gauge("securechat.log.queue", "{message}", "Messages that wait to be stored.")
	posts := counter("securechat.rooms.posts", "{message}", "Messages stored.")
	deliveries := counter("securechat.rooms.deliveries", "{message}", "Messages handed to members, replayed ones included.")
	duplicates := counter("securechat.rooms.duplicates", "{message}", "Messages sent again that had been stored before.")
	conflicts := counter("securechat.log.conflicts", "{commit}", "Commits to the log that another server was ahead of, and that were made again.")
	if err := errors.Join(problems...); err != nil {
		return err
	}
	_, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		stats := hub.Stats()
		o.ObserveInt64(open, int64(stats.Rooms))
		o.ObserveInt64(members, int64(stats.Members))
		o.ObserveInt64(queued, int64(stats.Queued))
		o.ObserveInt64(posts, int64(stats.Posts))
		o.ObserveInt64(deliveries, int64(stats.Deliveries))
		o.ObserveInt64(duplicates, int64(stats.Duplicates))
		o.ObserveInt64(conflicts, int64(stats.Conflicts))
		return nil
	}, observers...)
	return err
}
