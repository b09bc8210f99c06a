package jetstream_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"securechat/server/room"
	"securechat/server/room/jetstream"
	"securechat/server/room/roomtest"
)

// logs opens each kind of log.
var logs = map[string]func(t *testing.T) room.Log{
	"embedded": func(t *testing.T) room.Log {
		return openEmbedded(t, jetstream.EmbeddedConfig{Dir: t.TempDir() + "/log", SyncInterval: time.Minute})
	},
	"shared": func(t *testing.T) room.Log { return connect(t, startNATS(t, 1).config(roomtest.Limits{})) },
}

// Many who read a large room do not hold up who asks about another, nor who reads
// it.
func TestManyReadersHoldUpNobodyElse(t *testing.T) {
	// Time would be the machine's: what counts is how many pages the readers are given
	// meanwhile, of which there are 8 at a time. In a queue with them it would be all.
	const readers, most = 60, 20
	for name, open := range logs {
		t.Run(name, func(t *testing.T) {
			log := open(t)
			defer log.Close()
			text := strings.Repeat("x", 60<<10)
			var newest uint64
			for range 4 {
				drafts := make([]room.Draft, 16)
				for i := range drafts {
					drafts[i] = said("large", newest, text)
				}
				first, err := log.Append(t.Context(), drafts)
				if err != nil {
					t.Fatal(err)
				}
				newest = first + 15
			}
			if _, err := log.Append(t.Context(), []room.Draft{said("small", 0, "x"), said("small", 0, "y")}); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			var all sync.WaitGroup
			defer all.Wait()
			defer cancel()
			reading := make(chan struct{}, readers)
			var pages atomic.Int64
			for range readers {
				all.Go(func() {
					for after := uint64(0); ctx.Err() == nil; {
						entries, more, err := log.Read(ctx, "large", after, 1000)
						if err != nil {
							if !errors.Is(err, context.Canceled) {
								t.Error(err)
							}
							return
						}
						pages.Add(1)
						if after = 0; more {
							after = entries[len(entries)-1].Sequence
						}
						select {
						case reading <- struct{}{}:
						default:
						}
					}
				})
			}
			for range readers {
				<-reading
			}
			fewest := make(map[string]int64)
			for range 3 {
				for question, ask := range map[string]func() error{
					"Span":     func() error { _, _, err := log.Span(ctx); return err },
					"Newest":   func() error { _, err := log.Newest(ctx, "small"); return err },
					"an entry": func() error { _, _, err := log.Read(ctx, "small", 0, 1); return err },
					"a page":   func() error { _, _, err := log.Read(ctx, "small", 0, 100); return err },
				} {
					before := pages.Load()
					if err := ask(); err != nil {
						t.Errorf("%s: %v", question, err)
					}
					meanwhile := pages.Load() - before
					if least, asked := fewest[question]; !asked || meanwhile < least {
						fewest[question] = meanwhile
					}
				}
			}
			for question, pages := range fewest {
				if pages > most {
					t.Errorf("%s waits for %d pages of %d readers", question, pages, readers)
				}
			}
		})
	}
}

// Who asks is given memory for an answer, not for all that a connection may have under
// way.
func TestAQuestionTakesLittleMemory(t *testing.T) {
	const questions, most = 100, 64 << 10
	for name, open := range logs {
		t.Run(name, func(t *testing.T) {
			log := open(t)
			defer log.Close()
			if _, err := log.Append(t.Context(), []room.Draft{said("ops", 0, "x"), said("ops", 0, "y")}); err != nil {
				t.Fatal(err)
			}
			for _, limit := range []int{1, 2} {
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				for range questions {
					if entries, _, err := log.Read(t.Context(), "ops", 0, limit); err != nil || len(entries) != limit {
						t.Fatalf("%d entries, %v", len(entries), err)
					}
				}
				runtime.ReadMemStats(&after)
				if each := (after.TotalAlloc - before.TotalAlloc) / questions; each > most {
					t.Errorf("a question for %d messages takes %d bytes, want %d at most", limit, each, most)
				}
			}
		})
	}
}
