//go:build race

package auth_test

// many is how many sessions the race detector can follow: two goroutines each.
const many = 2000
