// Package roomtest has what tests of rooms share: a log in memory with faults that
// can be switched on, a cluster of nodes around it that can lose what is sent, and
// the suites of tests that every room.Log and every room.Cluster passes.
package roomtest
