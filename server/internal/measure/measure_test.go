package measure

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFigures(t *testing.T) {
	for _, c := range []struct {
		figures Figures
		share   float64
		want    float64
	}{
		{nil, 0.5, 0},
		{Figures{7}, 0.99, 7},
		{Figures{3, 1, 2}, 0.5, 2},
		{Figures{4, 3, 1, 2}, 0.5, 3},
		{Figures{5, 4, 3, 2, 1}, 1, 5}, // not beyond the last
	} {
		if got := c.figures.At(c.share); got != c.want {
			t.Errorf("%v at %v is %v, want %v", c.figures, c.share, got, c.want)
		}
	}
}

func TestOver(t *testing.T) {
	if got := (Figures{1}).Over(Figures{1, 2}); got != (Ratio{}) {
		t.Errorf("rounds that are not the same give %v", got)
	}
	// The ratio of the medians is not the median of the ratios.
	got := Figures{4, 9, 2}.Over(Figures{1, 3, 2})
	if want := (Ratio{Of: 2, Low: 1, High: 4}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestCPURises(t *testing.T) {
	before := CPU()
	for sum := 0; CPU() == before; sum++ {
		_ = sum
	}
}
