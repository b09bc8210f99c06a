package room

import (
	"slices"
	"testing"
)

// Of a hash that several entries have, those that are kept are still found when the
// others are forgotten, whichever came to be known first.
func TestForgettingKeepsTheRest(t *testing.T) {
	for name, added := range map[string][]uint64{
		"the oldest first": {2, 5, 9}, "the newest first": {9, 5, 2}, "the oldest between": {5, 2, 9},
	} {
		t.Run(name, func(t *testing.T) {
			var x index
			for _, sequence := range added {
				x.add(1, sequence)
			}
			for _, step := range []struct {
				first uint64
				left  []uint64
			}{{2, []uint64{9, 5, 2}}, {3, []uint64{9, 5}}, {6, []uint64{9}}, {10, nil}} {
				x.forget(1, step.first)
				if got := x.find(1, 0); !slices.Equal(got, step.left) || x.len() != len(step.left) {
					t.Errorf("before %d forgotten: %v, counted as %d, want %v", step.first, got, x.len(), step.left)
				}
			}
			if len(x.one)+len(x.more) > 0 {
				t.Error("something is left")
			}
		})
	}
}
