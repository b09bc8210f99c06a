package roomtest

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"securechat/server/room"
)

func (s *suite) count() {
	var last uint64
	for i := range 3 {
		last = s.says("ops", last, fmt.Sprint(i))
	}
	s.says("other", 0, "stays")
	s.append(draft("ops", last, "3"), draft("ops", 0, "4"))
	s.want("ops", 0, "3<4 2", "4<6 3", "6<7 4")
	s.want("ops", 2, "3<4 2", "4<6 3", "6<7 4") // the gap between 2 and 4 shows
	s.want("ops", 4, "4<6 3", "6<7 4")
	s.want("other", 0, "0<5 stays")
	s.wantSpan(4, 7)
	// One append of more than the room keeps.
	s.append(draft("ops", 7, "5"), draft("ops", 0, "6"), draft("ops", 0, "7"), draft("ops", 0, "8"))
	s.want("ops", 0, "8<9 6", "9<10 7", "10<11 8")
	s.wantSpan(5, 11)
}

func (s *suite) age() {
	s.says("ops", 0, "old")
	s.append(draft("other", 0, "old"), draft("ops", 2, "old"))
	known, last := uint64(4), uint64(4)
	for range 5 {
		s.untilNewest("ops", 0)
		s.untilNewest("other", 0)
		s.want("ops", 0)
		s.wantSpan(last+1, last)
		s.wantRooms(map[room.Key]uint64{})
		begun := time.Now()
		var err error
		if known, last, err = s.young(begun, known, last); err == nil {
			return
		}
		if time.Since(begun) < suiteAge {
			s.Fatal(err)
		}
		s.Logf("what is new has become too old before all was as it should be: %v", err)
	}
	s.Fatal("what is new becomes too old each time before all is as it should be")
}

// young appends to a log from which all has been discarded, where known was the newest
// of the room and last that of the log, and returns what these are now and what is
// wrong: something is, too, if the entries, no older than begun, become too old meanwhile.
func (s *suite) young(begun time.Time, known, last uint64) (newKnown, newLast uint64, err error) {
	s.Helper()
	// Who knows the room links to what it knows. Who does not links to all that is
	// gone, whosever it was.
	s.append(draft("ops", known, "new"), draft("ops", 0, "newer"), draft("other", 0, "new"))
	newKnown, newLast = last+2, last+3
	var inTime error // what was wrong before they can have become too old
	err = within(suiteAge, func() error {
		wrong := errors.Join(
			s.has("ops", 0, fmt.Sprintf("%d<%d new", known, last+1), fmt.Sprintf("%d<%d newer", last+1, last+2)),
			s.has("other", 0, fmt.Sprintf("%d<%d new", last, last+3)),
		)
		if wrong != nil && time.Since(begun) < suiteAge {
			inTime = wrong
		}
		return wrong
	})
	if err != nil {
		return newKnown, newLast, cmp.Or(inTime, err)
	}
	for _, d := range []room.Draft{draft("ops", 0, "knows of nothing"), draft("ops", known, "knows the old alone")} {
		stored, err := s.Append(s.ctx, []room.Draft{d})
		if err == nil {
			newKnown, newLast = stored, stored
		}
		if !errors.Is(err, room.ErrConflict) {
			return newKnown, newLast, fmt.Errorf("append gave %d, %v; want ErrConflict", stored, err)
		}
	}
	return newKnown, newLast, nil
}

// untilNewest waits until a room's newest entry is that one.
func (s *suite) untilNewest(key room.Key, want uint64) {
	s.Helper()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		newest, err := s.Newest(s.ctx, key)
		if err != nil {
			s.Fatalf("wait until the newest of %s is %d: %v", key, want, err)
		}
		if newest == want {
			return
		}
		select {
		case <-again.C:
		case <-s.ctx.Done():
			s.Fatalf("the newest of %s is still %d, want %d", key, newest, want)
		}
	}
}
