//go:build unix

package jetstream

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"securechat/server/room"
)

// What a server notes of its messages when it stops is what it has in memory: where
// the disk has only their end, the next one does not believe it.
func TestWhatTheDiskHasOnlyTheEndOfIsNotStored(t *testing.T) {
	for _, texts := range [][]string{{"one", "spoiled", "three"}, {"spoiled"}} {
		l, err := Embedded(EmbeddedConfig{Dir: t.TempDir() + "/log"})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		first, err := l.Append(t.Context(), []room.Draft{{Entry: room.Entry{Room: "ops", User: "alice"}}})
		if err != nil {
			t.Fatal(err)
		}
		drafts := make([]room.Draft, len(texts))
		for i, text := range texts {
			drafts[i] = room.Draft{Entry: room.Entry{Room: "ops", User: "alice", Text: text}, Expected: first}
		}
		in := l.current
		a, err := in.prepare(t.Context(), drafts)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := in.send(t.Context(), a, 1); err != nil { // not as an append does it
			t.Fatal(err)
		}
		in.stop()
		spoil(t, l.config.Dir)

		if first, err := l.settle(t.Context(), in, a, &doubtError{errors.New("it is slow")}); err == nil || errors.Is(err, room.ErrInDoubt) {
			t.Errorf("what became of %q is %d, %v; want that it is not stored", texts, first, err)
		}
		if newest, err := l.Newest(t.Context(), "ops"); newest != first || err != nil {
			t.Errorf("after %q the room's newest is %d, %v, want %d", texts, newest, err, first)
		}
	}
}

// spoil changes the message that says so where a log has it on the disk.
func spoil(t *testing.T, dir string) {
	t.Helper()
	blocks, err := filepath.Glob(filepath.Join(dir, "messages/msgs/*.blk"))
	if err != nil || len(blocks) != 1 {
		t.Fatal(blocks, err)
	}
	data, err := os.ReadFile(blocks[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(blocks[0], bytes.Replace(data, []byte("spoiled"), []byte("SPOILED"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
}
