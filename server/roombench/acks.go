package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"securechat/server/internal/measure"
)

const (
	senders  = 64
	inFlight = 16
)

// A sender says one thing after the other.
type sender struct {
	// say hands a message over and returns what waits until it is stored, which is
	// called in the order of the messages, on another goroutine.
	say func() (stored func() error, err error)
}

// A desk is a place where senders have messages stored.
type desk struct {
	name    string
	against int // the desk that it is compared with, reached in the same way
	open    func(ctx context.Context, t *town, s settings, senders int) (all []sender, end func() error, err error)
}

var desks = []desk{
	{"JetStream, one sync a message", 0, publishers(false)},
	{"rooms: hub and log", 0, hubSenders},
	{"JetStream over mutual TLS, one sync a message", 2, publishers(true)},
	{"rooms: whole server over mutual TLS", 2, streamSenders},
}

// times is what a load at a desk took.
type times struct {
	perSecond float64
	waits     measure.Figures // a message, in seconds
}

// acknowledgements measures how fast messages are stored for good, under load and
// one by one.
func acknowledgements(ctx context.Context, s settings, out io.Writer) error {
	t, err := newTown()
	if err != nil {
		return err
	}
	synced, err := syncs(s)
	if err != nil {
		return err
	}
	title := fmt.Sprintf("Acknowledgements: %d senders, a room each, with %d messages in flight, clients in the same process.\nOne write and fsync of a file on this disk takes %s (p99 %s)",
		senders, inFlight, milliseconds(synced.Median()), milliseconds(synced.At(0.99)))
	if err := s.load(ctx, t, out, title, senders, inFlight, s.messages); err != nil {
		return err
	}
	for _, few := range []int{16, 4, 1} {
		title := fmt.Sprintf("Acknowledgements: %d of them, with one message in flight", few)
		if err := s.load(ctx, t, out, title, few, 1, few*s.lone); err != nil {
			return err
		}
	}
	return nil
}

// load prints what the same load takes at each desk.
func (s settings) load(ctx context.Context, t *town, out io.Writer, title string, senders, inFlight, messages int) error {
	all := make([][]times, len(desks))
	for range s.rounds {
		for i, d := range desks {
			n := messages
			if d.against == i && inFlight > 1 {
				n /= 4 // it takes longer, and longer than it must is no use
			}
			took, err := d.serve(ctx, t, s, senders, inFlight, n)
			if err != nil {
				return fmt.Errorf("%s: %w", d.name, err)
			}
			all[i] = append(all[i], took)
		}
	}
	rows := [][]string{{"", "messages/s", "ratio", "spread", "p50", "ratio", "spread", "p99", "p99/p50", "spread"}}
	pick := func(i int, of func(times) float64) (f measure.Figures) {
		for _, one := range all[i] {
			f = append(f, of(one))
		}
		return f
	}
	perSecond := func(t times) float64 { return t.perSecond }
	p50 := func(t times) float64 { return t.waits.Median() }
	p99 := func(t times) float64 { return t.waits.At(0.99) }
	for i, d := range desks {
		row := []string{d.name, fmt.Sprintf("%.0f", pick(i, perSecond).Median())}
		row = append(row, show(pick(i, perSecond).Over(pick(d.against, perSecond)))...)
		row = append(row, milliseconds(pick(i, p50).Median()))
		row = append(row, show(pick(i, p50).Over(pick(d.against, p50)))...)
		row = append(row, milliseconds(pick(i, p99).Median()))
		rows = append(rows, append(row, show(pick(i, p99).Over(pick(i, p50)))...))
	}
	return table(out, title, rows)
}

func milliseconds(seconds float64) string { return fmt.Sprintf("%.2f ms", seconds*1000) }

// serve has messages said at a desk that is opened for it.
func (d desk) serve(ctx context.Context, t *town, s settings, senders, inFlight, messages int) (took times, err error) {
	all, end, err := d.open(ctx, t, s, senders)
	if err != nil {
		return times{}, err
	}
	defer func() { err = errors.Join(err, end()) }()
	share := max(messages/senders, 1)
	if _, err := talk(all, inFlight, max(share/10, 1)); err != nil { // warm
		return times{}, err
	}
	began := time.Now()
	waits, err := talk(all, inFlight, share)
	return times{perSecond: float64(len(waits)) / time.Since(began).Seconds(), waits: waits}, err
}

// talk has each sender say so many messages and returns how long each waited.
func talk(all []sender, inFlight, messages int) (measure.Figures, error) {
	waits := make([]measure.Figures, len(all))
	failed := make(chan error, len(all))
	for i := range all {
		go func() {
			var err error
			waits[i], err = all[i].talk(inFlight, messages)
			failed <- err
		}()
	}
	var err error
	var together measure.Figures
	for range all {
		err = errors.Join(err, <-failed)
	}
	for _, w := range waits {
		together = append(together, w...)
	}
	return together, err
}

func (one sender) talk(inFlight, messages int) (measure.Figures, error) {
	type said struct {
		at     time.Time
		stored func() error
	}
	places := make(chan struct{}, inFlight)
	under := make(chan said, inFlight)
	failed := make(chan error, 1)
	go func() {
		defer close(under)
		for range messages {
			places <- struct{}{}
			at := time.Now()
			stored, err := one.say()
			if err != nil {
				failed <- err
				return
			}
			under <- said{at, stored}
		}
	}()
	var waits measure.Figures
	var err error
	for s := range under {
		if err == nil {
			err = s.stored()
		}
		waits = append(waits, time.Since(s.at).Seconds())
		<-places
	}
	select {
	case e := <-failed:
		err = errors.Join(err, e)
	default:
	}
	return waits, err
}

// syncs are how long it takes to append to a file as much as a message has and have
// it written through, in seconds.
func syncs(s settings) (took measure.Figures, err error) {
	file, err := os.CreateTemp(s.dir, "sync-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	record := make([]byte, 256)
	for range max(s.lone/4, 1) {
		began := time.Now()
		if _, err := file.Write(record); err != nil {
			return nil, err
		}
		if err := file.Sync(); err != nil {
			return nil, err
		}
		took = append(took, time.Since(began).Seconds())
	}
	return took, nil
}
