package room

import (
	"hash/maphash"
	"slices"
)

// index finds the entries of a room that have an id, by a hash of their user and
// id. What it finds is a candidate: hashes collide, and the log may have discarded
// the entry. It costs 16 bytes an entry, and the map's own.
type index struct {
	one map[uint64]uint64
	// more has the further sequences of those few hashes that have several.
	more map[uint64][]uint64
	// further is how many more has, pruned how many there were in all after the
	// last prune.
	further, pruned int
}

func hashed(seed maphash.Seed, user, id string) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	h.WriteString(user)
	h.WriteByte(0xff) // in no UTF-8
	h.WriteString(id)
	return h.Sum64()
}

func (x *index) add(hash, sequence uint64) {
	if x.one == nil {
		x.one = map[uint64]uint64{}
	}
	before, has := x.one[hash]
	switch {
	case !has:
		x.one[hash] = sequence
	case before != sequence && !slices.Contains(x.more[hash], sequence):
		if x.more == nil {
			x.more = map[uint64][]uint64{}
		}
		x.more[hash] = append(x.more[hash], sequence)
		x.further++
	}
}

// find returns the candidates after a sequence, the newest first.
func (x *index) find(hash, after uint64) []uint64 {
	first, has := x.one[hash]
	if !has {
		return nil
	}
	found := append([]uint64{first}, x.more[hash]...)
	found = slices.DeleteFunc(found, func(sequence uint64) bool { return sequence <= after })
	slices.Sort(found)
	slices.Reverse(found)
	return found
}

func (x *index) len() int { return len(x.one) + x.further }

// due says whether enough has been added since the last prune to make the next
// worth its cost.
func (x *index) due() bool { return x.len() >= 2*max(x.pruned, 1024) }

// prune forgets the entries before a sequence.
func (x *index) prune(first uint64) {
	for hash := range x.one {
		x.forget(hash, first)
	}
	x.pruned = x.len()
}

// forget forgets the entries of a hash before a sequence.
func (x *index) forget(hash, first uint64) {
	more := x.more[hash]
	kept := slices.DeleteFunc(more, func(sequence uint64) bool { return sequence < first })
	switch {
	case x.one[hash] >= first:
	case len(kept) == 0:
		delete(x.one, hash)
	default:
		x.one[hash], kept = kept[0], kept[1:]
	}
	if x.further -= len(more) - len(kept); len(kept) == 0 {
		delete(x.more, hash)
	} else {
		x.more[hash] = kept
	}
}
