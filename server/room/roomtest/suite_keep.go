package roomtest

import (
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
	s.untilNewest("ops", 0)
	s.untilNewest("other", 0)
	s.want("ops", 0)
	s.wantSpan(5, 4)
	s.wantRooms(map[room.Key]uint64{})
	// Who knows the room links to what it knows. Who does not links to all that is
	// gone, whosever it was.
	s.append(draft("ops", 4, "new"), draft("ops", 0, "newer"), draft("other", 0, "new"))
	s.want("ops", 0, "4<5 new", "5<6 newer")
	s.want("other", 0, "4<7 new")
	s.wantConflict(draft("ops", 0, "knows of nothing"))
	s.wantConflict(draft("ops", 4, "knows the old alone"))
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
