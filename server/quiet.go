package server

import (
	"sync"
	"time"
)

// quiet keeps one source of refusals from filling the log: the first few lines
// of a source are written, then so many a second. Refusals are counted in full
// whether or not they are written, and the next line says how many were not.
type quiet struct {
	now func() time.Time

	mu      sync.Mutex
	sources map[string]*volume
}

const (
	quietBurst     = 20
	quietPerSecond = 5
	quietSources   = 4096 // more forget the oldest all at once
)

type volume struct {
	left     float64 // lines that may be written now
	at       time.Time
	withheld int
}

func newQuiet(now func() time.Time) *quiet {
	return &quiet{now: now, sources: make(map[string]*volume)}
}

// may says whether a line may be written for a source, and how many were
// withheld since the last.
func (q *quiet) may(source string) (withheld int, say bool) {
	now := q.now()
	q.mu.Lock()
	defer q.mu.Unlock()
	v, ok := q.sources[source]
	if !ok {
		if len(q.sources) >= quietSources {
			clear(q.sources)
		}
		v = &volume{left: quietBurst, at: now}
		q.sources[source] = v
	}
	if elapsed := now.Sub(v.at); elapsed > 0 {
		v.left = min(quietBurst, v.left+elapsed.Seconds()*quietPerSecond)
	}
	v.at = now
	if v.left < 1 {
		v.withheld++
		return 0, false
	}
	v.left--
	withheld, v.withheld = v.withheld, 0
	return withheld, true
}
