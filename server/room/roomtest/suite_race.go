package roomtest

import (
	"errors"
	"fmt"
	"sync"

	"securechat/server/room"
)

// writers append to rooms at the same time, each as often as told, trying again
// when another has been faster, and return what they were told is stored.
func (s *suite) writers(logs []room.Log, writers, appends int, keyOf func(writer int) room.Key) map[uint64]string {
	var mu sync.Mutex
	acknowledged := map[uint64]string{}
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			log, key := logs[w%len(logs)], keyOf(w)
			for i := range appends {
				text := fmt.Sprintf("%d.%d", w, i)
				first, err := s.insist(log, key, text)
				if err != nil {
					s.Errorf("writer %d: %v", w, err)
					return
				}
				mu.Lock()
				acknowledged[first], acknowledged[first+1] = text, text+"'"
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return acknowledged
}

// insist appends two entries, after whatever others have appended.
func (s *suite) insist(log room.Log, key room.Key, text string) (uint64, error) {
	for {
		newest, err := log.Newest(s.ctx, key)
		if err != nil {
			return 0, err
		}
		first, err := log.Append(s.ctx, []room.Draft{draft(key, newest, text), draft(key, 0, text+"'")})
		if !errors.Is(err, room.ErrConflict) {
			return first, err
		}
	}
}

// wantChain checks that a room has what was acknowledged to its writers, once, in
// an unbroken chain, and nothing else.
func (s *suite) wantChain(log room.Log, key room.Key, acknowledged map[uint64]string) {
	s.Helper()
	reader := *s
	reader.Log = log
	s.soon(func() error {
		var last uint64
		entries := reader.all(key, 0)
		for _, e := range entries {
			if e.Previous != last {
				return fmt.Errorf("%s: %s comes after %d", key, line(e), last)
			}
			if last = e.Sequence; acknowledged[e.Sequence] != e.Text {
				return fmt.Errorf("%s: %s is there, %q was acknowledged", key, line(e), acknowledged[e.Sequence])
			}
		}
		if len(entries) != len(acknowledged) {
			return fmt.Errorf("%s has %d entries, %d were acknowledged", key, len(entries), len(acknowledged))
		}
		return nil
	})
}

func (s *suite) race() {
	acknowledged := s.writers([]room.Log{s.Log}, 4, 5, func(int) room.Key { return "ops" })
	s.wantChain(s.Log, "ops", acknowledged)
}

func (s *suite) readers() {
	const writers, appends, readers = 4, 10, 16
	key := func(w int) room.Key { return room.Key(fmt.Sprintf("room-%d", w)) }
	stop := make(chan struct{})
	var reading sync.WaitGroup
	for r := range readers {
		reading.Go(func() {
			var after uint64
			for {
				entries, more, err := s.Read(s.ctx, key(r%writers), after, 5)
				if err != nil {
					s.Errorf("reader %d: %v", r, err)
					return
				}
				for _, e := range entries {
					if e.Previous != after {
						s.Errorf("reader %d: %s comes after %d", r, line(e), after)
					}
					after = e.Sequence
				}
				select {
				case <-stop:
					if !more {
						return
					}
				default:
				}
			}
		})
	}
	s.writers([]room.Log{s.Log}, writers, appends, key)
	close(stop)
	reading.Wait()
}
