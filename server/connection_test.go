package server

import (
	"net"
	"testing"
)

// Whoever waits for the end of a call learns of it once, however it comes.
func TestOnceTaken(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	c := newConnection(ours, ours, "alice")
	c.released = func() {}
	next := uint32(1)
	begin := func() *callStream {
		c.latest = next
		next += 2
		return c.begin()
	}
	told := make([]int, 4)
	wait := func(i int, s *callStream) { s.onceTaken(func() { told[i]++ }) }
	want := func(what string, counts ...int) {
		t.Helper()
		for i, n := range counts {
			if told[i] != n {
				t.Errorf("%s: call %d has been told %d times, want %d", what, i, told[i], n)
			}
		}
	}

	first, second := begin(), begin()
	first.watch()
	second.watch()
	wait(0, first)
	wait(1, second)
	first.end() // on our side
	want("begun", 0, 0)
	c.sent(frameHeader{kind: frameHeaders, flags: flagEndStream, stream: first.id})
	want("written", 1, 0)
	late := begin()
	c.received(frameHeader{kind: frameReset, stream: late.id})
	wait(2, late)
	want("asked once it was reset", 1, 0, 1)
	_ = c.Close()
	_ = c.Close()
	want("closed", 1, 1, 1)
	wait(3, begin())
	want("begun on a closed connection", 1, 1, 1, 1)
	first.end()
	second.end()
	if owing := c.owing.Load(); owing != 0 {
		t.Errorf("%d streams are ended or watched, and over, want none", owing)
	}
}
