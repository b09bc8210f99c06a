package roomtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"securechat/server/room"
)

// suiteWithin bounds each call of the suites.
const suiteWithin = 30 * time.Second

// suiteAge is how long entries are kept where they become too old.
const suiteAge = time.Second

// Open opens a store once more: after the one before is closed, or, where the
// store can be shared, beside it. The suite closes what it opens.
type Open func() room.Log

// TestLog is the suite that a room.Log passes. New makes an empty store within
// the limits.
func TestLog(t *testing.T, fresh func(t *testing.T, limits Limits) Open) {
	tests := []struct {
		name   string
		limits Limits
		test   func(*suite)
	}{
		{"an empty log has nothing", Limits{}, (*suite).empty},
		{"what a room does not expect conflicts", Limits{}, (*suite).conflicts},
		{"a conflict keeps the neighbours out", Limits{}, (*suite).conflictIsWhole},
		{"less than is known", Limits{}, (*suite).behind},
		{"an append that comes too late stores nothing", Limits{}, (*suite).ended},
		{"a lone entry is kept as it is", Limits{}, (*suite).lone},
		{"entries of an append follow each other", Limits{}, (*suite).together},
		{"reads are bounded", Limits{}, (*suite).pages},
		{"large entries", Limits{}, (*suite).large},
		{"rooms are told apart", Limits{}, (*suite).rooms},
		{"many rooms are listed", Limits{}, (*suite).manyRooms},
		{"appends to one room", Limits{}, (*suite).race},
		{"readers beside writers", Limits{}, (*suite).readers},
		{"what is kept outlives a restart", Limits{}, (*suite).restart},
		{"a room keeps its newest", Limits{MaxPerRoom: 3}, (*suite).count},
		{"entries become too old", Limits{MaxAge: suiteAge}, (*suite).age},
	}
	for _, test := range tests {
		t.Run(strings.ReplaceAll(test.name, " ", "_"), func(t *testing.T) {
			open := fresh(t, test.limits)
			s := &suite{T: t, open: open, Log: open()}
			defer func() {
				if err := s.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			}()
			var cancel func()
			s.ctx, cancel = context.WithTimeout(t.Context(), suiteWithin)
			defer cancel()
			test.test(s)
		})
	}
}

// suite is a test of a log.
type suite struct {
	*testing.T
	room.Log
	open Open
	ctx  context.Context
}

// suiteTime is when all entries of the suites are said.
var suiteTime = time.Date(2026, 3, 4, 5, 6, 7, 89e6, time.UTC)

func draft(key room.Key, expected uint64, text string) room.Draft {
	return room.Draft{Expected: expected, Entry: room.Entry{Room: key, User: "alice", Text: text, Time: suiteTime}}
}

// says appends one entry and returns its sequence.
func (s *suite) says(key room.Key, expected uint64, text string) uint64 {
	s.Helper()
	return s.append(draft(key, expected, text))
}

func (s *suite) append(drafts ...room.Draft) uint64 {
	s.Helper()
	first, err := s.Append(s.ctx, drafts)
	if err != nil {
		s.Fatalf("append: %v", err)
	}
	return first
}

func (s *suite) wantConflict(drafts ...room.Draft) {
	s.Helper()
	if first, err := s.Append(s.ctx, drafts); !errors.Is(err, room.ErrConflict) {
		s.Fatalf("append gave %d, %v; want ErrConflict", first, err)
	}
}

// all reads a room page by page.
func (s *suite) all(key room.Key, after uint64) []room.Entry {
	s.Helper()
	var all []room.Entry
	for {
		entries, more, err := s.Read(s.ctx, key, after, 7)
		if err != nil {
			s.Fatalf("read: %v", err)
		}
		all = append(all, entries...)
		if !more {
			return all
		}
		if len(entries) == 0 {
			s.Fatal("read: an empty page says that there is more")
		}
		after = entries[len(entries)-1].Sequence
	}
}

// want compares what a room holds with lines of "previous<sequence text".
func (s *suite) want(key room.Key, after uint64, want ...string) {
	s.Helper()
	s.soon(func() error { return s.has(key, after, want...) })
}

// has is one look of want's.
func (s *suite) has(key room.Key, after uint64, want ...string) error {
	s.Helper()
	var got []string
	for _, e := range s.all(key, after) {
		got = append(got, line(e))
	}
	if !slices.Equal(got, want) {
		return fmt.Errorf("%s after %d has\n%s\nwant\n%s", key, after, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	return nil
}

// soon waits until a check holds: in a cluster reads may be a moment behind.
func (s *suite) soon(check func() error) {
	s.Helper()
	if err := within(5*time.Second, check); err != nil {
		s.Fatal(err)
	}
}

// within waits until a check holds, and returns what it says if it does not in time.
func within(patience time.Duration, check func() error) error {
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	begun := time.Now()
	for {
		err := check()
		if err == nil || time.Since(begun) > patience {
			return err
		}
		<-again.C
	}
}

func line(e room.Entry) string { return fmt.Sprintf("%d<%d %s", e.Previous, e.Sequence, e.Text) }

func (s *suite) wantNewest(key room.Key, want uint64) {
	s.Helper()
	if newest, err := s.Newest(s.ctx, key); err != nil || newest != want {
		s.Fatalf("the newest of %s is %d, %v; want %d", key, newest, err, want)
	}
}

func (s *suite) wantSpan(first, last uint64) {
	s.Helper()
	if f, l, err := s.Span(s.ctx); err != nil || f != first || l != last {
		s.Fatalf("the span is %d to %d, %v; want %d to %d", f, l, err, first, last)
	}
}

func (s *suite) wantRooms(want map[room.Key]uint64) {
	s.Helper()
	s.soon(func() error {
		got := map[room.Key]uint64{}
		err := s.Rooms(s.ctx, func(key room.Key, newest uint64) bool {
			if _, twice := got[key]; twice {
				s.Errorf("%s is listed twice", key)
			}
			got[key] = newest
			return true
		})
		if err != nil {
			s.Fatalf("rooms: %v", err)
		}
		if !maps.Equal(got, want) {
			return fmt.Errorf("the rooms are %v, want %v", got, want)
		}
		return nil
	})
}
