package main

import (
	"testing"
	"time"
)

// inLife begins something that has to be under way before a short life ends. How long
// that takes nobody knows of a machine that has much else to do: what failed once its
// life was over is begun anew with a longer one.
func inLife[T any](t *testing.T, shortest time.Duration, begin func(ends time.Time) (T, error)) (begun T, ends time.Time) {
	t.Helper()
	for life := shortest; ; life *= 2 {
		ends = time.Now().Add(life).Truncate(time.Second) // as expiries are
		begun, err := begin(ends)
		if err == nil {
			return begun, ends
		}
		if time.Now().Before(ends) || life > patience {
			t.Fatal(err)
		}
	}
}
