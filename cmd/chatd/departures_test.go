package main

import (
	"context"
	"fmt"
	"time"
)

// departures are when the sessions of a user were first seen gone, and when no
// handler was left.
type departures struct {
	at  map[string]time.Time
	all time.Time
	err error
}

// departures watches the sessions of a crowd go. The others of the town have so
// many streams.
func (c *crowd) departures(ctx context.Context, others int) departures {
	w := c.citizen.town
	d := departures{at: make(map[string]time.Time)}
	live := make(map[string]bool)
	for _, s := range c.sessions() {
		live[s.ID] = true
	}
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for len(live) > 0 {
		select {
		case <-ctx.Done():
			return departures{err: fmt.Errorf("%d streams of %s live on", len(live), c.citizen.name)}
		case <-ticker.C:
		}
		sessions, err := w.list(ctx, c.citizen.name)
		if err != nil {
			return departures{err: err}
		}
		seen := time.Now()
		now := make(map[string]bool, len(sessions))
		for _, s := range sessions {
			now[s.ID] = true
		}
		for id := range live {
			if !now[id] {
				d.at[id] = seen
			}
		}
		live = now
	}
	for {
		counts, err := w.counts(ctx, streamsLive)
		if err != nil {
			return departures{err: err}
		}
		if counts[0] == others {
			d.all = time.Now()
			return d
		}
		select {
		case <-ctx.Done():
			return departures{err: fmt.Errorf("%d handlers of %s run on", counts[0]-others, c.citizen.name)}
		case <-ticker.C:
		}
	}
}
