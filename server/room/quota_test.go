package room_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"securechat/server/room"
	"securechat/server/room/roomtest"
)

// placesLog reads as many pages at a time as there are places. Those of the rooms of
// the greedy it begins and does not end until release is closed.
type placesLog struct {
	*roomtest.Memory
	places  chan struct{}
	release chan struct{}

	mu      sync.Mutex
	reading map[room.Key]bool
}

const greedy = "greedy-"

func (l *placesLog) Read(ctx context.Context, key room.Key, after uint64, limit int) ([]room.Entry, bool, error) {
	select {
	case l.places <- struct{}{}:
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
	defer func() { <-l.places }()
	if strings.HasPrefix(string(key), greedy) {
		l.note(key, true)
		defer l.note(key, false)
		select {
		case <-l.release:
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
	}
	return l.Memory.Read(ctx, key, after, limit)
}

func (l *placesLog) note(key room.Key, reading bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if reading {
		l.reading[key] = true
	} else {
		delete(l.reading, key)
	}
}

func (l *placesLog) readingNow() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.reading)
}

// crowded is a hub on a log of eight places and the rooms of one who is in many.
func crowded(t *testing.T) (*room.Hub, *placesLog, []room.Key) {
	log := &placesLog{
		Memory: roomtest.NewMemory(), places: make(chan struct{}, 8), release: make(chan struct{}), reading: map[room.Key]bool{},
	}
	filling := room.New(room.Config{Log: log.Memory})
	defer closeHub(t, filling)
	keys := make([]room.Key, 20)
	for i := range keys {
		keys[i] = room.Key(fmt.Sprint(greedy, i))
		fillRoom(t, filling, keys[i], 3)
	}
	fillRoom(t, filling, "ops", 3)
	return newHub(t, room.Config{Log: log}), log, keys
}

// Who has very many rooms replayed has them replayed a few at a time, and others
// theirs at once.
func TestReplaysOfOneUserLeaveOthersPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub, log, keys := crowded(t)
		var reading sync.WaitGroup
		defer reading.Wait()
		defer close(log.release)
		for _, key := range keys {
			m := join(t, hub, key, "mallory", beginning)
			reading.Go(func() { m.want("filler: filling", "filler: filling", "filler: filling", "LIVE") })
		}
		gone, cancel := context.WithCancel(t.Context())
		late := join(t, hub, keys[0], "mallory", beginning)
		reading.Go(func() {
			if _, err := late.Next(gone, make([]room.Event, 1)); !errors.Is(err, context.Canceled) {
				t.Errorf("who gives up while it waits gets %v", err)
			}
		})
		synctest.Wait()
		if got := log.readingNow(); got < 2 || got > 4 {
			t.Errorf("%d pages are read at once for one user", got)
		}
		join(t, hub, "ops", "bob", beginning).want("filler: filling", "filler: filling", "filler: filling", "LIVE")
		cancel()
		synctest.Wait()
	})
}

// So it is with the ids of rooms. Nobody waits for a room's because another user,
// who wants them too, waits for those of other rooms.
func TestIdsForOneUserLeaveOthersPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub, log, keys := crowded(t)
		var posting sync.WaitGroup
		defer posting.Wait()
		defer close(log.release)
		post := func(key room.Key, user string) {
			m := joinLive(t, hub, key, user)
			posting.Go(func() {
				m.post("id", "text of "+user)
				readTo(t, m, "ack text of "+user)
			})
		}
		for _, key := range keys {
			post(key, "mallory")
		}
		synctest.Wait()
		before := log.readingNow()
		if before < 2 || before > 4 {
			t.Errorf("the ids of %d rooms are read at once for one user", before)
		}
		ops := joinLive(t, hub, "ops", "bob")
		ops.post("id", "text")
		ops.wantAck()
		for i, key := range keys {
			log.mu.Lock()
			waits := !log.reading[key]
			log.mu.Unlock()
			if waits {
				post(keys[i], "bob")
				break
			}
		}
		synctest.Wait()
		if got := log.readingNow(); got != before+1 {
			t.Errorf("the ids of %d rooms are read, want those of one more than %d", got, before)
		}
	})
}
