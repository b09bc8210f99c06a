package jetstream_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"securechat/server/room"
	"securechat/server/room/jetstream"
)

func appendOne(t *testing.T, log room.Log, draft room.Draft) uint64 {
	t.Helper()
	sequence, err := log.Append(t.Context(), []room.Draft{draft})
	if err != nil {
		t.Fatal(err)
	}
	return sequence
}

// What the server keeps beside the messages is written after them or replaced in
// steps, so that a crash can take it or leave half of it. The messages, and how far
// the sequences had got, are found without.
func TestTheLogIsFoundWithoutItsDescription(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"gone": os.Remove,
		"half": func(path string) error { return os.Truncate(path, 1) },
	} {
		for _, file := range []string{"meta.inf", "meta.sum", "msgs/index.db"} {
			t.Run(name+" "+file, func(t *testing.T) {
				config := jetstream.EmbeddedConfig{Dir: t.TempDir() + "/log"}
				log := openEmbedded(t, config)
				first := appendOne(t, log, said("ops", 0, "one"))
				second := appendOne(t, log, said("ops", first, "two"))
				if err := log.Close(); err != nil {
					t.Fatal(err)
				}
				if err := damage(filepath.Join(config.Dir, "store/jetstream/$G/streams/CHAT", file)); err != nil {
					t.Fatal(err)
				}

				log = openEmbedded(t, config)
				defer log.Close()
				if got := readAll(t, log, "ops"); len(got) != 2 || got[1].Sequence != second {
					t.Errorf("the room has %v", got)
				}
				if third := appendOne(t, log, said("ops", second, "three")); third != second+1 {
					t.Errorf("after %d comes %d", second, third)
				}
			})
		}
	}
}

// A log whose messages have all become too old goes on counting where it was, also
// after a crash.
func TestSequencesOutliveTheirMessages(t *testing.T) {
	t.Parallel()
	config := jetstream.EmbeddedConfig{Dir: t.TempDir() + "/log", Keep: jetstream.Retention{MaxAge: time.Second}}
	log := openEmbedded(t, config)
	defer log.Close()
	first := appendOne(t, log, said("ops", 0, "one"))
	second := appendOne(t, log, said("ops", first, "two"))
	until(t, func() bool { return len(readAll(t, log, "ops")) == 0 })

	crashed := jetstream.EmbeddedConfig{Dir: t.TempDir() + "/log", Keep: config.Keep}
	if err := os.CopyFS(crashed.Dir, os.DirFS(config.Dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(crashed.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	after := openEmbedded(t, crashed)
	defer after.Close()
	if third := appendOne(t, after, said("ops", 0, "three")); third != second+1 {
		t.Errorf("after %d comes %d", second, third)
	}
}
