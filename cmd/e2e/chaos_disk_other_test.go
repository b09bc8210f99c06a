//go:build e2e && !linux

package e2e

import "testing"

func (c *chaos) fullDisk(t *testing.T) {
	t.Fatal("a disk can be filled on Linux alone: run it there")
}

func (c *chaos) power(t *testing.T) {
	t.Fatal("power can be taken from a disk on Linux alone: run it there")
}

func (c *chaos) failingDisks(t *testing.T) {
	t.Fatal("a disk can be made to fail on Linux alone: run it there")
}
