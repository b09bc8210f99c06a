package server

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// A client that takes nothing for so long is stuck, and none that takes something,
// or is not being sent anything, is. What sleeps does so by the bubble's clock.
func TestStall(t *testing.T) {
	const after = 5 * time.Second
	for name, test := range map[string]struct {
		during func(data func(), s *stall)
		stuck  bool
	}{
		"nothing is taken":             {func(_ func(), s *stall) { s.sends(); time.Sleep(after) }, true},      // the bubble's clock
		"nothing is taken for a while": {func(_ func(), s *stall) { s.sends(); time.Sleep(after - 1) }, false}, // the bubble's clock
		"some is taken, and then nothing": {func(data func(), s *stall) {
			s.sends()
			time.Sleep(4 * time.Second) // the bubble's clock
			data()
			time.Sleep(after + after/looksPerStall) // the bubble's clock
		}, true},
		"some is taken now and then": {func(data func(), s *stall) {
			s.sends()
			for range 5 {
				time.Sleep(4 * time.Second) // the bubble's clock
				data()
			}
		}, false},
		"message by message": {func(_ func(), s *stall) {
			for range 5 {
				s.sends()
				time.Sleep(4 * time.Second) // the bubble's clock
				s.sent()
				time.Sleep(2 * after) // the bubble's clock
			}
		}, false},
		"looks come late, during the next message": {func(_ func(), s *stall) {
			s.sends()
			time.Sleep(4 * time.Second) // the bubble's clock
			s.sent()
			s.sends()
			for range looksPerStall {
				s.look()
			}
		}, false},
		"the process is held up before a look": {func(_ func(), s *stall) {
			s.sends()
			s.since = s.since.Add(-time.Hour)
			s.look()
		}, false},
		"it is held up, and then nothing is taken": {func(_ func(), s *stall) {
			s.sends()
			s.since = s.since.Add(-time.Hour)
			s.look()
			time.Sleep(after) // the bubble's clock
		}, true},
		"it is not watched any more": {func(_ func(), s *stall) { s.sends(); s.stop(); time.Sleep(2 * after) }, false}, // the bubble's clock
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ours, theirs := net.Pipe()
				defer theirs.Close()
				defer ours.Close()
				c := newConnection(ours, ours, "alice")
				c.latest = 1
				call := c.begin()
				stuck := false
				s := newStall(context.WithValue(t.Context(), streamKey{}, call), after, func() { stuck = true })
				test.during(func() { c.sent(frameHeader{kind: frameData, length: 1, stream: call.id}) }, s)
				synctest.Wait()
				if stuck != test.stuck {
					t.Errorf("stuck is %v, want %v", stuck, test.stuck)
				}
				s.stop()
				s.stop()
				if owing := c.owing.Load(); owing != 0 {
					t.Errorf("%d streams are watched, want none", owing)
				}
			})
		})
	}
}
