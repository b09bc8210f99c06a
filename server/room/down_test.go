package room_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"securechat/server/room"
	"securechat/server/room/roomtest"
)

// downLog stores one message sooner than several, and while it is down takes givesUp to
// say of each append that it cannot.
type downLog struct {
	*roomtest.Memory
	down     atomic.Bool
	contends atomic.Bool  // while another node is always ahead
	ahead    bool         // another node is while it is down, and nobody can say by what
	together atomic.Int64 // the most messages of an append
}

const givesUp = 15 * time.Second

func (l *downLog) Append(ctx context.Context, drafts []room.Draft) (uint64, error) {
	l.together.Store(max(l.together.Load(), int64(len(drafts))))
	switch {
	case l.contends.Load(), l.ahead && l.down.Load():
		return 0, room.ErrConflict
	case l.down.Load():
		<-time.After(givesUp)
		return 0, room.ErrUnavailable
	case len(drafts) == 1:
		<-time.After(time.Millisecond)
	default:
		<-time.After(time.Second)
	}
	return l.Memory.Append(ctx, drafts)
}

func (l *downLog) Newest(ctx context.Context, key room.Key) (uint64, error) {
	if l.ahead && l.down.Load() {
		<-time.After(givesUp)
		return 0, room.ErrUnavailable
	}
	return l.Memory.Newest(ctx, key)
}

// However many wait for a log that is down, and however few of them would be stored
// together, they are told after two appends that have failed; and who has come since is
// not told the same.
func TestAllWhoWaitForALogThatIsDownAreToldSoon(t *testing.T) {
	for name, c := range map[string]struct {
		queue     int
		contended time.Duration // how long the rooms are before the log is down
		ahead     bool
	}{
		"stored one by one":    {},
		"more than a batch":    {queue: 8},
		"each room on its own": {contended: time.Second},
		"behind another node":  {ahead: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := &downLog{Memory: roomtest.NewMemory(), ahead: c.ahead}
				hub := newHub(t, room.Config{Log: log, Queue: c.queue})
				members := make([]*session, 20)
				for i := range members {
					members[i] = joinLive(t, hub, room.Key(fmt.Sprint("room-", i)), "alice")
				}
				late := joinLive(t, hub, "late", "bob")
				each := func(do func(*session)) {
					var doing sync.WaitGroup
					for _, m := range members {
						doing.Go(func() { do(m) })
					}
					doing.Wait()
				}
				for range 3 {
					each(func(m *session) {
						m.post("", "text")
						m.want("ack text")
					})
				}
				if log.together.Load() < 2 {
					t.Fatal("nothing has been stored together, from which the hub could learn")
				}
				log.down.Store(true)
				log.contends.Store(c.contended > 0)
				began := time.Now()
				time.AfterFunc(c.contended, func() { log.contends.Store(false) })
				time.AfterFunc(givesUp*3/2, func() {
					log.down.Store(false) // which an append under way does not see
					late.post("", "when it is back")
				})
				each(func(m *session) {
					m.post("", "lost")
					if _, err := m.Next(t.Context(), make([]room.Event, 1)); !errors.Is(err, room.ErrUnavailable) {
						t.Errorf("%v, want the end: %v", err, room.ErrUnavailable)
					}
				})
				if took := time.Since(began); took > c.contended+2*givesUp {
					t.Errorf("it took %v until all were told, where an append takes %v to fail", took, givesUp)
				}
				late.want("ack when it is back")
			})
		})
	}
}

// fullLog has no space for its second append.
type fullLog struct {
	*roomtest.Memory
	appends int
}

func (l *fullLog) Append(ctx context.Context, drafts []room.Draft) (uint64, error) {
	<-time.After(500 * time.Millisecond)
	if l.appends++; l.appends == 2 {
		return 0, room.ErrUnavailable
	}
	return l.Memory.Append(ctx, drafts)
}

// Where the log says at once that it cannot store something, that is no reason not to
// try the rest.
func TestWhoWaitsBehindAnAppendThatFailsAtOnceIsTried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := newHub(t, room.Config{Log: &fullLog{Memory: roomtest.NewMemory()}, Queue: 2}) // one by one
		members := make([]*session, 5)
		for i := range members {
			members[i] = joinLive(t, hub, room.Key(fmt.Sprint("room-", i)), "alice")
		}
		for _, m := range members {
			m.post("", "text")
		}
		for i, m := range members {
			if i == 1 {
				m.wantEnd(room.ErrUnavailable)
				continue
			}
			m.want("ack text")
		}
	})
}
