package roomtest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"securechat/server/room"
)

func (s *suite) empty() {
	s.wantSpan(2, 1)
	s.wantNewest("ops", 0)
	s.want("ops", 0)
	s.want("ops", 99)
	s.wantRooms(map[room.Key]uint64{})
	if _, err := s.Append(s.ctx, nil); err != nil {
		s.Errorf("an append of nothing: %v", err)
	}
	s.wantSpan(2, 1)
}

func (s *suite) conflicts() {
	first := s.says("ops", 0, "one")
	second := s.says("ops", first, "two")
	s.wantConflict(draft("ops", 0, "knows of nothing"))
	s.wantConflict(draft("ops", first, "knows the first alone"))
	s.wantConflict(draft("ops", 0, "a batch"), draft("ops", 0, "that knows of nothing"))
	s.want("ops", 0, "0<2 one", "2<3 two")
	s.says("ops", second, "three")
	s.want("ops", 0, "0<2 one", "2<3 two", "3<4 three")
}

func (s *suite) conflictIsWhole() {
	taken := s.says("taken", 0, "one")
	for name, drafts := range map[string][]room.Draft{
		"first": {draft("taken", 0, "x"), draft("free", 0, "x"), draft("other", 0, "x")},
		"amid":  {draft("free", 0, "x"), draft("taken", 0, "x"), draft("free", 0, "x")},
		"last":  {draft("free", 0, "x"), draft("other", 0, "x"), draft("taken", 0, "x")},
	} {
		s.Logf("the conflict is %s", name)
		s.wantConflict(drafts...)
		s.wantSpan(2, taken)
		s.wantNewest("free", 0)
		s.wantNewest("other", 0)
	}
	s.append(draft("free", 0, "a"), draft("taken", taken, "b"), draft("free", 0, "c"))
	s.want("free", 0, "0<3 a", "3<5 c")
	s.want("taken", 0, "0<2 one", "2<4 b")
}

// What is known of a room and not there, as after an operator has deleted it, is no
// conflict: there is nothing to be read.
func (s *suite) behind() {
	s.says("ops", 0, "one")
	other := s.says("other", 0, "one")
	for name, test := range map[string]struct {
		drafts []room.Draft
		want   room.BehindError
	}{
		"alone":              {[]room.Draft{draft("ops", other, "x")}, room.BehindError{Room: "ops", Known: other, Newest: 2}},
		"beside another":     {[]room.Draft{draft("other", other, "x"), draft("ops", other, "x")}, room.BehindError{Room: "ops", Known: other, Newest: 2}},
		"nothing of it left": {[]room.Draft{draft("none", other, "x")}, room.BehindError{Room: "none", Known: other}},
	} {
		begun := time.Now()
		_, err := s.Append(s.ctx, test.drafts)
		var behind *room.BehindError
		if !errors.As(err, &behind) || *behind != test.want {
			s.Errorf("%s: the append gave %v, want %v", name, err, &test.want)
		}
		if took := time.Since(begun); took > 5*time.Second {
			s.Errorf("%s: it took %v, during which no other room is written to", name, took)
		}
	}
	s.wantSpan(2, other)
	s.append(draft("other", other, "two"), draft("ops", 2, "two"))
	s.want("ops", 0, "0<2 one", "2<5 two")
}

func (s *suite) ended() {
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	if first, err := s.Append(ctx, []room.Draft{draft("ops", 0, "late")}); err == nil {
		s.Errorf("an append after its context's end gave %d", first)
	}
	s.wantSpan(2, 1)
}

func (s *suite) lone() {
	want := room.Entry{
		Room: "@.YWxpY2U.Ym9i", Sequence: 2, User: "älice", ID: "7b\x00", Text: "a\nb", Time: suiteTime,
		Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	}
	s.append(room.Draft{Entry: want})
	s.soon(func() error {
		if entries := s.all(want.Room, 0); len(entries) != 1 || entries[0] != want {
			return fmt.Errorf("got %+v, want %+v", entries, want)
		}
		return nil
	})
	s.wantNewest(want.Room, 2)
	s.wantSpan(2, 2)
	s.says("silent", 0, "") // an empty text is a text
	s.want("silent", 0, "0<3 ")
}

func (s *suite) together() {
	a := s.says("a", 0, "a1")
	first := s.append(
		draft("b", 0, "b1"), draft("a", a, "a2"), draft("b", 0, "b2"),
		draft("c", 0, "c1"), draft("a", 0, "a3"), draft("a", 0, "a4"),
	)
	if first != a+1 {
		s.Errorf("the first sequence is %d, want %d", first, a+1)
	}
	s.want("a", 0, "0<2 a1", "2<4 a2", "4<7 a3", "7<8 a4")
	s.want("b", 0, "0<3 b1", "3<5 b2")
	s.want("c", 0, "0<6 c1")
	s.says("b", 5, "b3")
	s.want("b", 3, "3<5 b2", "5<9 b3")
	s.wantRooms(map[room.Key]uint64{"a": 8, "b": 9, "c": 6})
}

func (s *suite) pages() {
	const count = 20
	drafts := make([]room.Draft, count)
	for i := range drafts {
		drafts[i] = draft("ops", 0, fmt.Sprint(i))
	}
	first := s.append(drafts...)
	last := first + count - 1
	s.says("other", 0, "is not counted")
	for _, page := range []struct {
		after   uint64
		limit   int
		entries int
		more    bool
	}{
		{0, 1, 1, true},
		{0, count - 1, count - 1, true},
		{0, count, count, false},
		{0, 1 << 20, count, false},
		{first, count - 1, count - 1, false},
		{last - 1, 1, 1, false},
		{last, 1, 0, false},
		{last + 1, 1, 0, false}, // the other room's
		{1 << 60, 1, 0, false},
		{math.MaxUint64, count, 0, false},
	} {
		s.soon(func() error {
			entries, more, err := s.Read(s.ctx, "ops", page.after, page.limit)
			if err != nil {
				return err
			}
			if len(entries) != page.entries || more != page.more {
				return fmt.Errorf("%d after %d: got %d entries, more %v; want %d, %v",
					page.limit, page.after, len(entries), more, page.entries, page.more)
			}
			for i, e := range entries {
				if want := max(page.after+1, first) + uint64(i); e.Sequence != want {
					return fmt.Errorf("%d after %d: entry %d has sequence %d, want %d", page.limit, page.after, i, e.Sequence, want)
				}
			}
			return nil
		})
	}
}

func (s *suite) large() {
	const size, count = 200 << 10, 8
	text := strings.Repeat("x", size)
	var last uint64
	for range count {
		last = s.says("ops", last, text)
	}
	s.soon(func() error {
		entries, more, err := s.Read(s.ctx, "ops", 0, count)
		if err != nil {
			return err
		}
		if !more || len(entries) > readBytes/size+1 {
			return fmt.Errorf("one read gave %d entries of %d KiB, more %v; want about a MiB and more", len(entries), size>>10, more)
		}
		if entries = s.all("ops", 0); len(entries) != count {
			return fmt.Errorf("there are %d entries, want %d", len(entries), count)
		}
		for _, e := range entries {
			if e.Text != text {
				return fmt.Errorf("entry %d has %d bytes of %d", e.Sequence, len(e.Text), size)
			}
		}
		return nil
	})
}

func (s *suite) rooms() {
	// A room's name may be the beginning of another's, and pairs have two parts.
	keys := []room.Key{"a", "ab", "@.YQ.Yg", "@.YQ.YgA", "@.yq.Yg"}
	want := map[room.Key]uint64{}
	for i, key := range keys {
		want[key] = s.says(key, 0, string(key))
		s.want(key, 0, fmt.Sprintf("0<%d %s", i+2, key))
	}
	for _, key := range keys {
		s.wantNewest(key, want[key])
	}
	s.wantRooms(want)
	calls := 0
	if err := s.Rooms(s.ctx, func(room.Key, uint64) bool { calls++; return false }); err != nil || calls != 1 {
		s.Errorf("a listing that is stopped made %d calls, %v", calls, err)
	}
}

func (s *suite) manyRooms() {
	const appends, each = 5, 500 // more than one page
	want := map[room.Key]uint64{}
	for i := range appends {
		drafts := make([]room.Draft, each)
		for j := range drafts {
			drafts[j] = draft(room.Key(fmt.Sprintf("room-%d-%d", i, j)), 0, "x")
		}
		first := s.append(drafts...)
		for j := range drafts {
			want[drafts[j].Room] = first + uint64(j)
		}
	}
	s.wantRooms(want)
}

func (s *suite) restart() {
	a := s.says("a", 0, "a1")
	s.append(draft("b", 0, "b1"), draft("a", a, "a2"))
	if err := s.Close(); err != nil {
		s.Fatalf("close: %v", err)
	}
	s.Log = s.open()
	s.want("a", 0, "0<2 a1", "2<4 a2")
	s.want("b", 0, "0<3 b1")
	s.wantSpan(2, 4)
	s.wantConflict(draft("a", a, "knows the first alone"))
	s.says("a", 4, "a3")
	s.want("a", a, "2<4 a2", "4<5 a3")
}
