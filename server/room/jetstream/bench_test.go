package jetstream_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"securechat/server/room"
	"securechat/server/room/jetstream"
)

var benchText = strings.Repeat("x", 100)

func benchDraft(key room.Key, expected uint64) room.Draft {
	return room.Draft{Expected: expected, Entry: room.Entry{Room: key, User: "alice", ID: "0123456789abcdef", Text: benchText, Time: time.Now()}}
}

// latencies are reported as the median and the 99th percentile.
type latencies struct {
	mu  sync.Mutex
	all []time.Duration
}

func (l *latencies) add(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, d)
}

func (l *latencies) report(b *testing.B) {
	if len(l.all) == 0 {
		return
	}
	slices.Sort(l.all)
	b.ReportMetric(float64(l.all[len(l.all)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(l.all[len(l.all)*99/100].Microseconds()), "p99-µs")
	b.ReportMetric(float64(len(l.all))/b.Elapsed().Seconds(), "appends/s")
}

// BenchmarkAppend compares appends with plain publishes to the same kind of stream,
// each message made durable by itself.
func BenchmarkAppend(b *testing.B) {
	b.Run("lone", func(b *testing.B) {
		log := openEmbedded(b, jetstream.EmbeddedConfig{Dir: b.TempDir() + "/log"})
		defer log.Close()
		var expected uint64
		var took latencies
		for b.Loop() {
			begun := time.Now()
			first, err := log.Append(b.Context(), []room.Draft{benchDraft("ops", expected)})
			if err != nil {
				b.Fatal(err)
			}
			took.add(time.Since(begun))
			expected = first
		}
		took.report(b)
	})
	b.Run("64x16", func(b *testing.B) {
		log := openEmbedded(b, jetstream.EmbeddedConfig{Dir: b.TempDir() + "/log"})
		defer log.Close()
		g := newGroup(log)
		defer g.close()
		send(b, func(sender int) error { return g.append(b.Context(), room.Key(fmt.Sprintf("room-%d", sender%8))) })
	})
	b.Run("publish/lone", func(b *testing.B) {
		p := newPublisher(b)
		var took latencies
		for b.Loop() {
			begun := time.Now()
			if err := p.publish(b.Context(), 0); err != nil {
				b.Fatal(err)
			}
			took.add(time.Since(begun))
		}
		took.report(b)
	})
	b.Run("publish/64x16", func(b *testing.B) {
		p := newPublisher(b)
		send(b, func(sender int) error { return p.publish(b.Context(), sender%8) })
	})
}

// send has 64 senders with 16 messages in flight each send b.N messages.
func send(b *testing.B, one func(sender int) error) {
	const senders, inFlight = 64, 16
	var took latencies
	var all sync.WaitGroup
	work := make(chan struct{})
	b.ResetTimer()
	for i := range senders * inFlight {
		all.Go(func() {
			for range work {
				begun := time.Now()
				if err := one(i % senders); err != nil {
					b.Error(err)
				}
				took.add(time.Since(begun))
			}
		})
	}
	for range b.N {
		work <- struct{}{}
	}
	close(work)
	all.Wait()
	b.StopTimer()
	took.report(b)
}

// group appends what waits as one, as a hub does.
type group struct {
	log     room.Log
	waiting chan grouped
	newest  map[room.Key]uint64
	done    sync.WaitGroup
}

type grouped struct {
	key    room.Key
	answer chan error
}

func newGroup(log room.Log) *group {
	g := &group{log: log, waiting: make(chan grouped, 1024), newest: map[room.Key]uint64{}}
	g.done.Go(g.run)
	return g
}

func (g *group) close() { close(g.waiting); g.done.Wait() }

func (g *group) append(_ context.Context, key room.Key) error {
	answer := make(chan error, 1)
	g.waiting <- grouped{key, answer}
	return <-answer
}

func (g *group) run() {
	for next := range g.waiting {
		batch := []grouped{next}
		for more := true; more && len(batch) < 512; {
			select {
			case next, more = <-g.waiting:
				if more {
					batch = append(batch, next)
				}
			default:
				more = false
			}
		}
		drafts := make([]room.Draft, len(batch))
		for i, w := range batch {
			drafts[i] = benchDraft(w.key, g.newest[w.key])
		}
		first, err := g.log.Append(context.Background(), drafts)
		for i, w := range batch {
			g.newest[w.key] = first + uint64(i)
			w.answer <- err
		}
	}
}

// BenchmarkRead reads a room of 10,000 entries, page by page.
func BenchmarkRead(b *testing.B) {
	log := openEmbedded(b, jetstream.EmbeddedConfig{Dir: b.TempDir() + "/log", SyncInterval: time.Minute})
	defer log.Close()
	const entries, each = 10_000, 500
	var last uint64
	for range entries / each {
		drafts := make([]room.Draft, each)
		for i := range drafts {
			drafts[i] = benchDraft("ops", last)
		}
		first, err := log.Append(b.Context(), drafts)
		if err != nil {
			b.Fatal(err)
		}
		last = first + each - 1
	}
	for b.Loop() {
		count := 0
		for after, more := uint64(0), true; more; {
			var page []room.Entry
			var err error
			if page, more, err = log.Read(b.Context(), "ops", after, 1000); err != nil {
				b.Fatal(err)
			}
			count += len(page)
			after = page[len(page)-1].Sequence
		}
		if count != entries {
			b.Fatalf("read %d entries of %d", count, entries)
		}
	}
	b.ReportMetric(float64(entries*b.N)/b.Elapsed().Seconds(), "entries/s")
}
