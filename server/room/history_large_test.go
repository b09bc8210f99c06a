package room_test

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"securechat/server/room"
	"securechat/server/room/roomtest"
)

// widest is what a page of history may have in texts: about a MiB, and the message
// that exceeds it.
const widest = 1<<20 + 256<<10

func textBytes(entries []room.Entry) (size int) {
	for _, e := range entries {
		size += len(e.Text)
	}
	return size
}

// fillLarge stores messages of 1 KiB to 256 KiB, every third of them in "ops".
func fillLarge(t *testing.T, log *roomtest.Memory) (sequences []uint64) {
	t.Helper()
	newest := map[room.Key]uint64{}
	for i := range 240 {
		key := pick(i%3 == 0)
		text := strings.Repeat("x", 1<<10<<(i%9))
		sequence, err := log.Append(t.Context(), []room.Draft{{
			Entry: room.Entry{Room: key, User: "alice", Text: text}, Expected: newest[key],
		}})
		if err != nil {
			t.Fatal(err)
		}
		if newest[key] = sequence; key == "ops" {
			sequences = append(sequences, sequence)
		}
	}
	return sequences
}

// However large the messages are, a page is not, and pages lead through all.
func TestHistoryPagesOfLargeMessages(t *testing.T) {
	hub, log := memoryHub(t)
	sequences := fillLarge(t, log)
	for _, limit := range []int{1, 50, 1000} {
		var got []uint64
		for before, more := uint64(0), true; more; {
			entries, rest, err := hub.HistoryBefore(t.Context(), "ops", before, limit)
			if err != nil || len(entries) == 0 {
				t.Fatalf("before %d: %d entries, %v", before, len(entries), err)
			}
			if size := textBytes(entries); size > widest || len(entries) > limit {
				t.Errorf("a page of %d before %d has %d entries, %d bytes", limit, before, len(entries), size)
			}
			got = append(sequencesOf(entries), got...)
			before, more = entries[0].Sequence, rest
		}
		if !slices.Equal(got, sequences) {
			t.Errorf("backwards by %d: %d entries, want %d", limit, len(got), len(sequences))
		}
		got = nil
		for after, more := uint64(0), true; more; {
			entries, rest, err := hub.HistoryAfter(t.Context(), "ops", after, limit)
			if err != nil || len(entries) == 0 {
				t.Fatalf("after %d: %d entries, %v", after, len(entries), err)
			}
			if size := textBytes(entries); size > widest {
				t.Errorf("a page of %d after %d has %d bytes", limit, after, size)
			}
			got = append(got, sequencesOf(entries)...)
			after, more = got[len(got)-1], rest
		}
		if !slices.Equal(got, sequences) {
			t.Errorf("forwards by %d: %d entries, want %d", limit, len(got), len(sequences))
		}
	}
}

// A page costs no more reading than a few pages do.
func TestHistoryBackwardsReadsLittle(t *testing.T) {
	log := &readLog{Memory: roomtest.NewMemory()}
	hub := newHub(t, room.Config{Log: log})
	fillLarge(t, log.Memory)
	if _, _, err := hub.HistoryBefore(t.Context(), "ops", 0, 1000); err != nil {
		t.Fatal(err)
	}
	if read := log.bytes.Load(); read > 6<<20 {
		t.Errorf("a page has %d bytes read from the log", read)
	}
}

// readLog counts what is read from a log.
type readLog struct {
	*roomtest.Memory
	bytes atomic.Int64
}

func (l *readLog) Read(ctx context.Context, key room.Key, after uint64, limit int) ([]room.Entry, bool, error) {
	entries, more, err := l.Memory.Read(ctx, key, after, limit)
	l.bytes.Add(int64(textBytes(entries)))
	return entries, more, err
}
