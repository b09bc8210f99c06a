package jetstream

import (
	"log/slog"
	"testing"
	"time"
)

// That the disk has a message before its acknowledgement comes shows only when power
// fails. This test sees to it that the server is told to write through first.
func TestAcknowledgementsWaitForTheDisk(t *testing.T) {
	for interval, always := range map[time.Duration]bool{0: true, time.Second: false} {
		in, err := start(&EmbeddedConfig{Dir: t.TempDir(), SyncInterval: interval, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		got := in.server.JetStreamConfig()
		if got.SyncAlways != always || interval > 0 && got.SyncInterval != interval {
			t.Errorf("every %v: the server syncs always: %v, every %v", interval, got.SyncAlways, got.SyncInterval)
		}
		in.stop()
	}
}
