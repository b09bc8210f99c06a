package jetstream_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"securechat/server/room"
	"securechat/server/room/jetstream"
)

// A batch of which a crash has left the beginning alone is not there once the log
// is opened, and what comes next is linked to what came before it.
func TestPartialBatchesAreRemoved(t *testing.T) {
	config := jetstream.EmbeddedConfig{Dir: t.TempDir() + "/log"}
	first := halfABatch(t, config)
	log := openEmbedded(t, config)
	defer log.Close()
	if got := readAll(t, log, "c"); len(got) != 0 {
		t.Errorf("the partial batch is there: %v", got)
	}
	if got := readAll(t, log, "a"); len(got) != 1 || got[0].Sequence != first {
		t.Errorf("the whole batch before it is %v", got)
	}
	if _, err := log.Append(t.Context(), []room.Draft{said("c", 0, "new"), said("a", first, "new")}); err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, log, "a"); len(got) != 2 || got[1].Previous != first {
		t.Errorf("after it the room has %v", got)
	}
}

// halfABatch makes a log that has an entry each in the rooms a and b, of which it returns
// the first one's sequence, and then the beginning of a batch for c and a.
func halfABatch(t *testing.T, config jetstream.EmbeddedConfig) (first uint64) {
	t.Helper()
	log := openEmbedded(t, config)
	first, err := log.Append(t.Context(), []room.Draft{said("a", 0, "whole"), said("b", 0, "whole")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = log.Append(t.Context(), []room.Draft{said("c", 0, "x"), said("a", first, "x"), said("c", 0, "x")}); err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	loseLastMessage(t, config.Dir)
	return first
}

// loseLastMessage cuts the last message off the file that holds it, and removes the
// summary that a server writes when it ends orderly.
func loseLastMessage(t *testing.T, dir string) {
	t.Helper()
	find := func(name string) string {
		paths, err := filepath.Glob(filepath.Join(dir, "store", "jetstream", "*", "streams", "*", "msgs", name))
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s is not there (%v)", name, err)
		}
		slices.Sort(paths)
		return paths[len(paths)-1]
	}
	if err := os.Remove(find("index.db")); err != nil {
		t.Fatal(err)
	}
	block := find("*.blk")
	data, err := os.ReadFile(block)
	if err != nil {
		t.Fatal(err)
	}
	// Each record begins with its length, of which the highest bit is a flag.
	last := 0
	for next := 0; next < len(data); {
		last = next
		next += int(binary.LittleEndian.Uint32(data[next:]) &^ (1 << 31))
	}
	if err := os.Truncate(block, int64(last)); err != nil {
		t.Fatal(err)
	}
}
