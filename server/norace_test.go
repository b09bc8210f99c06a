//go:build !race

package server_test

// raceDetector slows what is promised within a time.
const raceDetector = false
