package room_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"securechat/server/room"
	"securechat/server/room/roomtest"
)

// Who answers for the log may know less of it for a moment, as a leader does that has
// been replaced and has not noticed: an id is not stored again for that.
func TestAnIdIsNotStoredAgainWhileTheLogIsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &replacedLeader{Memory: roomtest.NewMemory()}
		hub := newHub(t, room.Config{Log: log, Queue: 2}) // so that the ring has it no more
		alice := joinLive(t, hub, "ops", "alice")
		alice.post("1", "first")
		first := alice.wantAck()
		alice.Leave()
		fillRoom(t, hub, "ops", 10)
		alice = joinLive(t, hub, "ops", "alice")
		for _, asked := range []int64{1, 4} {
			log.upTo.Store(first.Sequence - 1)
			log.left.Store(asked)
			alice.post("1", "again")
			wantSame(t, alice.wantAck(), first)
		}
		if entries, _, err := log.Memory.Read(t.Context(), "ops", 0, 1000); err != nil || len(entries) != 11 {
			t.Errorf("the room has %d messages, %v", len(entries), err)
		}
	})
}

// Nor because its message is left out while the room's ids are read.
func TestIdsAreNotLeftOutWhileTheLogIsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &replacedLeader{Memory: roomtest.NewMemory()}
		before := newHub(t, room.Config{Log: log})
		alice := joinLive(t, before, "ops", "alice")
		zero := alice.postAcked("0")
		alice.postAcked("1")
		fillRoom(t, before, "ops", 10)

		hub := newHub(t, room.Config{Log: log})
		alice = joinLive(t, hub, "ops", "alice")
		log.upTo.Store(zero.Sequence)
		log.left.Store(4)
		alice.post("1", "again")
		alice.want("ack 1")
	})
}

// postAcked posts a text under itself as its id.
func (s *session) postAcked(text string) room.Entry {
	s.t.Helper()
	s.post(text, text)
	return s.wantAck()
}

// Where the log stays behind, it has lost the message.
func TestAnIdThatTheLogHasLostIsStoredAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := roomtest.NewMemory()
		hub := newHub(t, room.Config{Log: log, Queue: 2})
		carol := joinLive(t, hub, "other", "carol")
		carol.post("", "keeps the log from being empty")
		carol.wantAck()
		alice := joinLive(t, hub, "ops", "alice")
		alice.post("1", "first")
		alice.wantAck()
		alice.Leave()
		fillRoom(t, hub, "ops", 10)
		alice = joinLive(t, hub, "ops", "alice")
		readTo(t, alice, "LEFT filler")
		log.Lose("ops", 0)
		alice.post("1", "again")
		within(t, 3*time.Second, func() { alice.wantEnd(room.ErrUnavailable) })
		alice.Leave()
		alice = joinLive(t, hub, "ops", "alice")
		alice.post("1", "again")
		alice.want("ack again")
		wantStored(t, log, "ops", "alice: again")
	})
}

// Other rooms do not wait for those of which messages are lost, however many these are.
func TestLostIdsHoldUpNoOtherRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := roomtest.NewMemory()
		hub := newHub(t, room.Config{Log: log, Queue: 2})
		carol := joinLive(t, hub, "other", "carol")
		carol.post("", "keeps the log from being empty")
		carol.wantAck()
		for i := range 5 {
			key := room.Key(fmt.Sprint("ops", i))
			alice := joinLive(t, hub, key, "alice")
			alice.postAcked("1")
			fillRoom(t, hub, key, 10)
			log.Lose(key, 0)
			var posting sync.WaitGroup
			posting.Go(func() { alice.post("1", "again") })
			t.Cleanup(posting.Wait)
		}
		for range 40 {
			within(t, 100*time.Millisecond, func() {
				carol.post("", "mine")
				carol.want("ack mine")
			})
			time.Sleep(50 * time.Millisecond) // the bubble's clock
		}
	})
}

// replacedLeader knows the log up to a sequence only, the next times that it is asked
// for a room's newest.
type replacedLeader struct {
	*roomtest.Memory
	upTo atomic.Uint64
	left atomic.Int64
}

func (l *replacedLeader) Newest(ctx context.Context, key room.Key) (uint64, error) {
	newest, err := l.Memory.Newest(ctx, key)
	if l.left.Add(-1) >= 0 {
		newest = min(newest, l.upTo.Load())
	}
	return newest, err
}

func (l *replacedLeader) Read(ctx context.Context, key room.Key, after uint64, limit int) ([]room.Entry, bool, error) {
	entries, more, err := l.Memory.Read(ctx, key, after, limit)
	if l.left.Load() <= 0 {
		return entries, more, err
	}
	unknown := func(e room.Entry) bool { return e.Sequence > l.upTo.Load() }
	if i := slices.IndexFunc(entries, unknown); i >= 0 {
		return entries[:i], false, err
	}
	return entries, more, err
}
