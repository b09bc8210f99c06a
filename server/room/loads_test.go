package room_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"securechat/server/room"
	"securechat/server/room/roomtest"
)

// stuckLog does not say how far it has got, until release is closed.
type stuckLog struct {
	*roomtest.Memory
	asked   atomic.Int64 // by how many at a time
	release chan struct{}
}

func (l *stuckLog) Span(ctx context.Context) (first, last uint64, err error) {
	l.asked.Add(1)
	defer l.asked.Add(-1)
	select {
	case <-l.release:
	case <-ctx.Done():
		return 0, 0, ctx.Err()
	}
	return l.Memory.Span(ctx)
}

// Who comes to one room after the other and waits for none has a few of them loaded at a
// time, and others theirs.
func TestRoomsThatNobodyWaitsForAreLoadedAFewAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &stuckLog{Memory: roomtest.NewMemory(), release: make(chan struct{})}
		hub := newHub(t, room.Config{Log: log})
		come := func(user string, rooms int) {
			for i := range rooms {
				ctx, cancel := context.WithCancel(t.Context())
				joined := make(chan error)
				go func() {
					_, err := hub.Join(ctx, room.Key(fmt.Sprint(user, i)), user, live)
					joined <- err
				}()
				synctest.Wait()
				cancel()
				if err := <-joined; !errors.Is(err, context.Canceled) {
					t.Fatalf("who gives up while it waits gets %v", err)
				}
			}
		}
		come("mallory", 100)
		loading := log.asked.Load()
		if loading < 2 || loading > 8 {
			t.Errorf("%d rooms are being loaded for one user, and %d are kept", loading, hub.Stats().Rooms)
		}
		if rooms := hub.Stats().Rooms; int64(rooms) != loading {
			t.Errorf("%d rooms are kept, of which %d are being loaded", rooms, loading)
		}
		joined := make(chan error)
		for range loading { // wait to load what somebody else loads meanwhile
			go func() {
				m, err := hub.Join(t.Context(), "bob0", "mallory", live)
				if err == nil {
					m.Leave()
				}
				joined <- err
			}()
		}
		synctest.Wait()
		come("bob", 1)
		if got := log.asked.Load(); got != loading+1 {
			t.Errorf("%d rooms are being loaded, want one more than %d", got, loading)
		}
		close(log.release)
		for range loading {
			if err := <-joined; err != nil {
				t.Error(err)
			}
		}
		for i := range 16 { // there are as many places as before
			join(t, hub, room.Key(fmt.Sprint("later", i)), "mallory", live).want("LIVE")
		}
	})
}
