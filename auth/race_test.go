//go:build race

package auth_test

// many is how many sessions the race detector can follow: two goroutines each.
const many = 2000

// measured is what is promised where a test measures it by the machine's clock. A
// program with the race detector in it is not the one of which that is promised.
const measured = 3 * promised
