package room_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"securechat/server/room"
	"securechat/server/room/roomtest"
)

// fill stores entries with their number as text in rooms chosen by pick, and
// returns the sequences of those in "ops".
func fill(t *testing.T, log *roomtest.Memory, count int, pick func(i int) room.Key) []uint64 {
	t.Helper()
	newest := map[room.Key]uint64{}
	var sequences []uint64
	for i := range count {
		key := pick(i)
		draft := room.Draft{Entry: room.Entry{Room: key, User: "alice", Text: fmt.Sprint(i)}, Expected: newest[key]}
		sequence, err := log.Append(t.Context(), []room.Draft{draft})
		if err != nil {
			t.Fatal(err)
		}
		newest[key] = sequence
		if key == "ops" {
			sequences = append(sequences, sequence)
		}
	}
	return sequences
}

func sequencesOf(entries []room.Entry) []uint64 {
	var sequences []uint64
	for _, e := range entries {
		sequences = append(sequences, e.Sequence)
	}
	return sequences
}

func TestHistoryOfAnotherLogOrPastRetentionIsRefused(t *testing.T) {
	hub, log := memoryHub(t)
	sequences := fill(t, log, 10, func(int) room.Key { return "ops" })
	log.DiscardBefore(sequences[5])
	for name, cursor := range map[string]uint64{"discarded": sequences[3], "never given": 1000} {
		_, _, err := hub.HistoryAfter(t.Context(), "ops", cursor, 5)
		var gone *room.GoneError
		if !errors.As(err, &gone) {
			t.Fatalf("%s: %v", name, err)
		}
		if _, _, err := hub.HistoryAfter(t.Context(), "ops", gone.Oldest, 5); err != nil {
			t.Errorf("%s: after the oldest, %d: %v", name, gone.Oldest, err)
		}
	}
	// A room that has nothing left.
	if _, _, err := hub.HistoryAfter(t.Context(), "other", sequences[3], 5); err == nil {
		t.Error("a cursor before all that is kept was taken")
	}
	if _, _, err := hub.HistoryAfter(t.Context(), "other", sequences[4], 5); err != nil {
		t.Error(err)
	}
	entries, more, err := hub.HistoryAfter(t.Context(), "ops", 0, 2)
	if err != nil || !more || !slices.Equal(sequencesOf(entries), sequences[5:7]) {
		t.Errorf("from the beginning: %v %v %v", sequencesOf(entries), more, err)
	}
}

// Pages of every kind of room lead through all of it, in both directions.
func TestHistoryPagesThroughAll(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	rooms := map[string]func(i int) room.Key{
		"alone":           func(int) room.Key { return "ops" },
		"rare":            func(i int) room.Key { return pick(i%97 == 5) },
		"at random":       func(int) room.Key { return pick(random.IntN(3) == 0) },
		"long ago, dense": func(i int) room.Key { return pick(i < 1500) },
		"now":             func(i int) room.Key { return pick(i > 2900) },
	}
	for name, choose := range rooms {
		t.Run(name, func(t *testing.T) {
			hub, log := memoryHub(t)
			sequences := fill(t, log, 3000, choose)
			for _, limit := range []int{1, 50, 1000} {
				if limit == 1 && len(sequences) > 200 {
					continue
				}
				var got []uint64
				for before, more := uint64(0), true; more; {
					entries, rest, err := hub.HistoryBefore(t.Context(), "ops", before, limit)
					if err != nil || len(entries) > limit || len(entries) == 0 {
						t.Fatalf("%d before %d: %d, %v", limit, before, len(entries), err)
					}
					got = append(sequencesOf(entries), got...)
					before, more = entries[0].Sequence, rest
				}
				if !slices.Equal(got, sequences) {
					t.Errorf("backwards by %d: %d entries, want %d", limit, len(got), len(sequences))
				}
				got = nil
				for cursor, more := uint64(0), true; more; {
					entries, rest, err := hub.HistoryAfter(t.Context(), "ops", cursor, limit)
					if err != nil {
						t.Fatal(err)
					}
					got = append(got, sequencesOf(entries)...)
					cursor, more = got[len(got)-1], rest
				}
				if !slices.Equal(got, sequences) {
					t.Errorf("forwards by %d: %d entries, want %d", limit, len(got), len(sequences))
				}
			}
		})
	}
}

func pick(ops bool) room.Key {
	if ops {
		return "ops"
	}
	return "other"
}

func TestHistoryOfAnEmptyRoomIsEmpty(t *testing.T) {
	hub, _ := memoryHub(t)
	entries, more, err := hub.HistoryBefore(t.Context(), "ops", 0, 10)
	if len(entries) > 0 || more || err != nil {
		t.Errorf("before the end: %v %v %v", entries, more, err)
	}
	entries, more, err = hub.HistoryAfter(t.Context(), "ops", 0, 10)
	if len(entries) > 0 || more || err != nil {
		t.Errorf("from the beginning: %v %v %v", entries, more, err)
	}
}

// A node of the log's that lags does not make an end of what comes after a cursor.
func TestHistoryOnALaggingNode(t *testing.T) {
	log := roomtest.NewMemory()
	sequences := fill(t, log, 10, func(int) room.Key { return "ops" })
	lagging := &laggingLog{Log: log}
	hub := newHub(t, room.Config{Log: lagging})
	for _, at := range []int{0, 4} {
		var cursor uint64
		if at > 0 {
			cursor = sequences[at-1]
		}
		lagging.behind.Store(3)
		entries, more, err := hub.HistoryAfter(t.Context(), "ops", cursor, 5)
		if err != nil || !more || !slices.Equal(sequencesOf(entries), sequences[at:at+5]) {
			t.Errorf("after %d: %v %v %v", cursor, sequencesOf(entries), more, err)
		}
	}
}

func TestRoomsHaveEntriesOrMembers(t *testing.T) {
	hub, _ := memoryHub(t)
	spoken := joinLive(t, hub, "spoken", "alice")
	spoken.post("1", "1")
	ack, err := spoken.next()
	if err != nil {
		t.Fatal(err)
	}
	joinLive(t, hub, "silent", "alice")
	join(t, hub, "deserted", "alice", live).Leave()

	got := map[room.Key]uint64{}
	err = hub.Rooms(t.Context(), func(key room.Key, newest uint64) bool {
		if _, twice := got[key]; twice {
			t.Errorf("%s comes twice", key)
		}
		got[key] = newest
		return true
	})
	if err != nil || len(got) != 2 || got["spoken"] != ack.Entry.Sequence || got["silent"] != 0 {
		t.Errorf("%v, %v", got, err)
	}
	count := 0
	if err := hub.Rooms(t.Context(), func(room.Key, uint64) bool { count++; return false }); err != nil || count != 1 {
		t.Errorf("stopped after %d, %v", count, err)
	}
}
