package roomtest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"securechat/server/room"
)

// SharedLog is a node's view of a log that several nodes share.
type SharedLog interface {
	room.Log
	room.Cluster
}

// TestCluster is the suite that a room.Cluster passes, beside TestLog. New makes
// an empty store and opens it for two nodes; the suite closes them.
func TestCluster(t *testing.T, fresh func(t *testing.T) (a, b SharedLog)) {
	tests := []struct {
		name string
		test func(*clusterSuite)
	}{
		{"nodes append to one room", (*clusterSuite).race},
		{"nodes append to rooms of their own", (*clusterSuite).apart},
		{"a room is followed from every node", (*clusterSuite).follow},
		{"following ends", (*clusterSuite).followEnds},
		{"notes reach every node", (*clusterSuite).notes},
		{"listening ends", (*clusterSuite).listeningEnds},
	}
	for _, test := range tests {
		t.Run(strings.ReplaceAll(test.name, " ", "_"), func(t *testing.T) {
			a, b := fresh(t)
			ctx, cancel := context.WithTimeout(t.Context(), suiteWithin)
			defer cancel()
			s := &clusterSuite{suite: suite{T: t, Log: a, ctx: ctx}, a: a, b: b}
			test.test(s)
			for _, log := range []room.Log{a, b} {
				if err := log.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			}
		})
	}
}

type clusterSuite struct {
	suite
	a, b SharedLog
}

func (s *clusterSuite) race() {
	acknowledged := s.writers([]room.Log{s.a, s.b}, 4, 5, func(int) room.Key { return "ops" })
	s.wantChain(s.a, "ops", acknowledged)
}

func (s *clusterSuite) apart() {
	key := func(w int) room.Key { return room.Key(fmt.Sprintf("room-%d", w)) }
	acknowledged := s.writers([]room.Log{s.a, s.b}, 4, 5, key)
	if len(acknowledged) != 4*5*2 {
		s.Errorf("%d entries were acknowledged, want %d", len(acknowledged), 4*5*2)
	}
	for w := range 4 {
		own := map[uint64]string{}
		for sequence, text := range acknowledged {
			if strings.HasPrefix(text, fmt.Sprintf("%d.", w)) {
				own[sequence] = text
			}
		}
		s.wantChain(s.b, key(w), own)
	}
}

// collector keeps what a subscriber is given.
type collector struct {
	mu    sync.Mutex
	lines []string
}

func (c *collector) entry(e room.Entry) { c.add(line(e)) }
func (c *collector) note(note []byte)   { c.add(string(note)) }
func (c *collector) add(line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines = append(c.lines, line)
}
func (c *collector) all() (all []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.lines)
}

// until waits until the subscriber has been given a line, and repeats what makes it
// come, since anything on its way may be lost.
func (s *clusterSuite) until(c *collector, line string, again func()) {
	s.Helper()
	retry := time.NewTicker(50 * time.Millisecond)
	defer retry.Stop()
	for !slices.Contains(c.all(), line) {
		select {
		case <-retry.C:
			again()
		case <-s.ctx.Done():
			s.Fatalf("%q has not come; there are %q", line, c.all())
		}
	}
}

func (s *clusterSuite) must(stop func(), err error) func() {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
	return stop
}

// ready waits until what is stored reaches each follower, and returns the newest
// sequence then.
func (s *clusterSuite) ready(key room.Key, followers ...*collector) uint64 {
	s.Helper()
	retry := time.NewTicker(50 * time.Millisecond)
	defer retry.Stop()
	last := s.says(key, 0, "ready?")
	for slices.ContainsFunc(followers, func(c *collector) bool { return len(c.all()) == 0 }) {
		select {
		case <-retry.C:
			last = s.says(key, last, "ready?")
		case <-s.ctx.Done():
			s.Fatal("nothing reaches a follower")
		}
	}
	return last
}

func (s *clusterSuite) follow() {
	var fromA, fromB collector
	stopA := s.must(s.a.Follow("ops", fromA.entry))
	stopB := s.must(s.b.Follow("ops", fromB.entry))
	defer stopA()
	defer stopB()
	last := s.ready("ops", &fromA, &fromB)
	var want []string
	for i := range 10 {
		log := []room.Log{s.a, s.b}[i%2]
		first, err := log.Append(s.ctx, []room.Draft{
			draft("other", s.newest("other"), "not this one's"), draft("ops", last, fmt.Sprint(i)), draft("ops", 0, fmt.Sprint(i, "'")),
		})
		if err != nil {
			s.Fatal(err)
		}
		want = append(want, fmt.Sprintf("%d<%d %d", last, first+1, i), fmt.Sprintf("%d<%d %d'", first+1, first+2, i))
		last = first + 2
	}
	for name, c := range map[string]*collector{"a": &fromA, "b": &fromB} {
		s.until(c, want[len(want)-1], func() {})
		got := c.all()
		begin := slices.Index(got, want[0])
		if begin < 0 || !slices.Equal(got[begin:], want) {
			s.Errorf("%s was given\n%s\nwant, at the end,\n%s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

func (s *clusterSuite) newest(key room.Key) uint64 {
	s.Helper()
	newest, err := s.Newest(s.ctx, key)
	if err != nil {
		s.Fatal(err)
	}
	return newest
}

func (s *clusterSuite) followEnds() {
	var ended, other collector
	stop := s.must(s.a.Follow("ops", ended.entry))
	stopOther := s.must(s.a.Follow("ops", other.entry))
	defer stopOther()
	last := s.ready("ops", &ended)
	stop()
	before := len(ended.all())
	next := s.says("ops", last, "after")
	s.until(&other, fmt.Sprintf("%d<%d after", last, next), func() {})
	if after := ended.all(); len(after) != before {
		s.Errorf("after its end a follower was given %q", after[before:])
	}
}

func (s *clusterSuite) publish(log room.Cluster, key room.Key, note string) {
	s.Helper()
	if err := log.Publish(key, []byte(note)); err != nil {
		s.Fatal(err)
	}
}

func (s *clusterSuite) notes() {
	var fromA, fromB, elsewhere collector
	stops := []func(){
		s.must(s.a.Listen("ops", fromA.note)), s.must(s.b.Listen("ops", fromB.note)), s.must(s.a.Listen("other", elsewhere.note)),
	}
	defer func() {
		for _, stop := range stops {
			stop()
		}
	}()
	for _, c := range []*collector{&fromA, &fromB} {
		s.until(c, "one", func() { s.publish(s.a, "ops", "one") })
		s.until(c, "two", func() { s.publish(s.b, "ops", "two") })
	}
	s.until(&elsewhere, "there", func() { s.publish(s.b, "other", "there") })
	for _, note := range elsewhere.all() {
		if note != "there" {
			s.Errorf("a note of another room was given: %q", note)
		}
	}
	// Notes are not stored.
	s.wantSpan(2, 1)
}

func (s *clusterSuite) listeningEnds() {
	var ended, other collector
	stop := s.must(s.a.Listen("ops", ended.note))
	stopOther := s.must(s.a.Listen("ops", other.note))
	defer stopOther()
	s.until(&ended, "before", func() { s.publish(s.b, "ops", "before") })
	stop()
	before := len(ended.all())
	s.until(&other, "after", func() { s.publish(s.b, "ops", "after") })
	if after := ended.all(); len(after) != before {
		s.Errorf("after its end a listener was given %q", after[before:])
	}
}
