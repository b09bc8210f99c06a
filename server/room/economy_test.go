package room

import (
	"slices"
	"testing"
	"time"
)

// A disk takes so long for one message, and for several.
type disk struct{ one, several time.Duration }

// stores has so many appends made while that many posts wait, and returns which part
// of them were of one.
func (e *economy) stores(d disk, appends, waiting int) float64 {
	ones := 0
	for range appends {
		if e.alone(waiting) {
			ones++
			e.learn(1, d.one)
		} else {
			e.learn(waiting, d.several)
		}
	}
	return float64(ones) / float64(appends)
}

func TestFewAreStoredOneByOneWhereThatIsFaster(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name        string
		disk        disk
		waiting     int
		least, most float64 // the part that is stored one by one
	}{
		// A cluster of servers does the same for several as for one.
		{"several cost no more", disk{ms, ms}, 2, 0, 0.05},
		{"fewer than are worth it", disk{ms, 10 * ms}, 4, 0.95, 1},
		{"more than are worth it", disk{ms, 10 * ms}, 20, 0, 0.05},
		{"many, whatever was learnt", disk{ms, 1000 * ms}, mostWorth, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var e economy
			e.learn(1, c.disk.one)
			if got := e.stores(c.disk, 10_000, c.waiting); got < c.least || got > c.most {
				t.Errorf("%.3f of the appends are of one, want %v to %v", got, c.least, c.most)
			}
		})
	}
}

func TestNothingIsStoredOneByOneBeforeSomethingIsKnown(t *testing.T) {
	var e economy
	if e.alone(2) {
		t.Error("nothing has been learnt, and of two posts one goes alone")
	}
	e.learn(1, time.Millisecond)
	if e.alone(2) {
		t.Error("what several take is not known, and is not tried")
	}
	if e.learn(2, time.Second); e.alone(1) {
		t.Error("one post is not appended as it is")
	}
}

// A moment at which the disk is slow is forgotten.
func TestWhatWasLearntIsTriedAgain(t *testing.T) {
	usual := disk{time.Millisecond, 10 * time.Millisecond}
	for _, c := range []struct {
		name    string
		entries int
		waiting int
		want    float64 // the part that is stored one by one afterwards
	}{
		{"one that was slow", 1, 4, 1},
		{"several that were slow", 4, 20, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var e economy
			e.learn(1, usual.one)
			e.stores(usual, 100, c.waiting)
			e.learn(c.entries, time.Second)
			e.stores(usual, 2_000, c.waiting)
			if got := e.stores(usual, 1_000, c.waiting); got < c.want-0.05 || got > c.want+0.05 {
				t.Errorf("%.3f of the appends are of one, want about %v", got, c.want)
			}
		})
	}
}

// What waits of a room that goes its own way follows what goes there.
func TestSplittingKeepsARoomsOrder(t *testing.T) {
	ops, other := &Member{room: &room{}}, &Member{room: &room{}}
	split, waits, others := &post{member: ops}, &post{member: ops}, &post{member: other}
	hub := &Hub{open: t.Context(), queue: make(chan *post)}
	w := &writer{hub: hub, most: maxBatch, mostBytes: maxBatchBytes, waiting: []*post{waits, others}}
	w.split([]*post{split})
	batch, _ := w.gather()
	if len(w.contended) != 1 || !slices.Equal(w.contended[0].posts, []*post{split, waits}) {
		t.Error("the contended room has not what was split, and then what waited")
	}
	if !slices.Equal(batch, []*post{others}) {
		t.Errorf("%d posts are stored together, want that of the other room alone", len(batch))
	}
}
