// Package measure is what the benchmark programs of the server have in common:
// processor time, and figures that were taken in turns and are compared.
package measure

import (
	"slices"
	"syscall"
	"time"
)

// CPU is the time that all cores have spent on this process.
func CPU() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// Figures are one quantity, one figure a round.
type Figures []float64

// Median is the upper one of an even number; 0 of none.
func (f Figures) Median() float64 { return f.At(0.5) }

// At is the figure below which that share of the others is; 0 of none.
func (f Figures) At(share float64) float64 {
	if len(f) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(f))
	return sorted[min(int(share*float64(len(sorted))), len(sorted)-1)]
}

// A Ratio is one quantity over another, measured in the same rounds.
type Ratio struct {
	// Of is the ratio of the medians; Low and High are those of single rounds.
	Of, Low, High float64
}

// Over is f over base, of which the rounds are those of f.
func (f Figures) Over(base Figures) Ratio {
	if len(f) == 0 || len(f) != len(base) {
		return Ratio{}
	}
	rounds := make([]float64, len(f))
	for i := range f {
		rounds[i] = f[i] / base[i]
	}
	return Ratio{Of: f.Median() / base.Median(), Low: slices.Min(rounds), High: slices.Max(rounds)}
}
