package room

import "time"

// economy learns what appends take, and so how many posts are worth an append of
// several. A log may have to do more for that than for one message: the embedded
// one writes several down twice, which takes as long as 4 to 20 messages one by
// one, as the disk goes. Of one goroutine.
type economy struct {
	lone, several time.Duration // of late; 0: not known
}

const (
	// leastWorth and mostWorth bound the answer: whatever has been learnt, many
	// posts are appended together.
	leastWorth, mostWorth = 2, 32
	// few is the size up to which an append of several says what the log does for
	// several as such.
	few = 64
	// With each append of one kind what is known of the other fades by one of so
	// many parts, so that it is tried again: what was measured may have been a
	// moment at which the disk was slow. To try several costs more.
	fadeLone, fadeSeveral = 64, 256
)

// learn notes an append that was stored.
func (e *economy) learn(entries int, took time.Duration) {
	switch {
	case entries == 1:
		e.lone = learnt(e.lone, took)
	case entries <= few:
		e.several = learnt(e.several, took)
		e.lone -= e.lone / fadeLone
	}
}

func learnt(before, last time.Duration) time.Duration {
	if before == 0 {
		return last
	}
	return (before + last) / 2
}

// alone says whether of so many posts that wait the first is better appended alone.
func (e *economy) alone(posts int) bool {
	if posts < leastWorth || posts >= mostWorth || e.lone == 0 || time.Duration(posts)*e.lone >= e.several {
		return false
	}
	e.several -= e.several / fadeSeveral
	return true
}
