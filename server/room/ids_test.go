package room_test

import (
	"context"
	"testing"
	"testing/synctest"

	"securechat/server/room"
	"securechat/server/room/roomtest"
)

// slowLog holds up the reads of one room until release is closed.
type slowLog struct {
	*roomtest.Memory
	room    room.Key
	release chan struct{}
}

func (l *slowLog) Read(ctx context.Context, key room.Key, after uint64, limit int) ([]room.Entry, bool, error) {
	if key == l.room {
		select {
		case <-l.release:
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
	}
	return l.Memory.Read(ctx, key, after, limit)
}

// A member that may post has the ids read before it posts, and no one else does.
func TestIdsAreReadAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := roomtest.NewMemory()
		newest := uint64(0)
		for _, id := range []string{"1", "2", "3"} {
			sequence, err := log.Append(t.Context(), []room.Draft{{
				Entry: room.Entry{Room: "ops", User: "alice", ID: id, Text: "text"}, Expected: newest,
			}})
			if err != nil {
				t.Fatal(err)
			}
			newest = sequence
		}
		hub := newHub(t, room.Config{Log: log})
		alice := joinLive(t, hub, "ops", "alice")
		synctest.Wait()
		if ids, _ := hub.Kept("ops"); ids != 0 {
			t.Errorf("%d ids are kept for one who listens", ids)
		}
		alice.Prepare()
		synctest.Wait()
		if ids, _ := hub.Kept("ops"); ids != 3 {
			t.Errorf("%d ids are kept, want 3", ids)
		}
	})
}

// While a room's ids are read, other rooms' messages are stored, with ids or
// without, and so are this room's without.
func TestReadingIdsHoldsNobodyElseUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &slowLog{Memory: roomtest.NewMemory(), room: "large", release: make(chan struct{})}
		fillHub := room.New(room.Config{Log: log.Memory})
		fillRoom(t, fillHub, "large", 3)
		fillRoom(t, fillHub, "ops", 3)
		closeHub(t, fillHub)
		hub := newHub(t, room.Config{Log: log})
		large := joinLive(t, hub, "large", "alice")
		large.Prepare()
		synctest.Wait()
		waits := joinLive(t, hub, "large", "bob")
		posted := make(chan error, 1)
		go func() { posted <- waits.Post(t.Context(), room.Posting{ID: "1", Text: "waits"}) }()
		ops := joinLive(t, hub, "ops", "alice")
		ops.Prepare()
		ops.post("1", "goes on")
		ops.wantAck()
		large.post("", "goes on, too")
		large.wantAck()
		select {
		case err := <-posted:
			t.Errorf("a post with an id did not wait: %v", err)
		default:
		}
		close(log.release)
		if err := <-posted; err != nil {
			t.Error(err)
		}
		waits.wantAck()
	})
}
