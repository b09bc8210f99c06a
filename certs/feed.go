package certs

import (
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// A FeedState is what has become of one feed, which is anything that is followed
// while it is in use: for metrics.
type FeedState struct {
	// Name says which feed it is.
	Name string
	// Loaded is when what is in force was last read in good order; zero: never.
	Loaded time.Time
	// Expires is when the first part of it ends by itself; zero: it does not.
	Expires time.Time
	// Good counts how often something was put in force, the first time and
	// reloads by hand included; Broken, what could not be, each once while it
	// stays the same.
	Good, Broken uint64
}

type digest = [sha256.Size]byte

// digestOf tells what was read of files apart from anything else, an error of
// reading them included.
func digestOf(texts [][]byte, err error) digest {
	hash := sha256.New()
	write := func(b []byte) {
		hash.Write(binary.BigEndian.AppendUint64(nil, uint64(len(b))))
		hash.Write(b)
	}
	for _, text := range texts {
		write(text)
	}
	if err != nil {
		write([]byte(err.Error()))
	}
	return digest(hash.Sum(nil))
}

// A record is what is remembered of a feed between two looks at it. The zero
// record has seen nothing.
type record struct {
	applied digest // of what is in force
	last    sight  // of the last look
	refused digest // of the broken content that was reported last; zero: none since the last good one
	// unrest is how many looks in a row have each found something else, none of
	// which was put in force.
	unrest int

	loaded       time.Time
	good, broken uint64
}

// settle notes what a look has shown and says what to make of it. Who looks by hand
// wants to know at once.
func (r *record) settle(now sight, byHand bool) standing {
	before := r.last
	r.last = now
	r.last.texts = nil // they may be large
	if now.steady && now.digest == before.digest {
		r.unrest = 0
		return standing{counts: true, whole: true}
	}
	r.unrest++
	whole := now.steady && now.whole(before)
	return standing{
		counts:  byHand || whole || r.unrest >= maxUnrest,
		whole:   byHand || whole,
		patient: !byHand && r.unrest < maxDoubt,
	}
}

// accept notes that what was read is now in force.
func (r *record) accept(d digest) {
	r.applied, r.refused, r.unrest = d, digest{}, 0
	r.loaded = time.Now()
	r.good++
}

// unchanged notes that what is in force was read again. One that was asked for by
// hand counts.
func (r *record) unchanged(byHand bool) {
	r.refused, r.unrest = digest{}, 0
	if byHand {
		r.accept(r.applied)
	}
}

// refuse notes that what was read cannot be put in force, and says whether that
// is new.
func (r *record) refuse(d digest) bool {
	if d == r.refused {
		return false
	}
	r.refused = d
	r.broken++
	return true
}

func (r *record) state(name string, expires time.Time) FeedState {
	return FeedState{Name: name, Loaded: r.loaded, Expires: expires, Good: r.good, Broken: r.broken}
}
