//go:build unix

package jetstream_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"securechat/server/room"
	"securechat/server/room/jetstream"
)

// A log that can't be read is not opened, and nothing of it is lost.
func TestALogThatCannotBeReadIsKept(t *testing.T) {
	config := jetstream.EmbeddedConfig{Dir: t.TempDir() + "/log"}
	log := openEmbedded(t, config)
	first := appendOne(t, log, said("ops", 0, "one"))
	second := appendOne(t, log, said("ops", first, "two"))
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	blocks, err := filepath.Glob(config.Dir + "/messages/msgs/*.blk")
	if err != nil || len(blocks) != 1 {
		t.Fatal(blocks, err)
	}
	block, aside := blocks[0], t.TempDir()+"/aside"
	for _, step := range []error{
		os.Rename(block, aside),
		os.Mkdir(block, 0o700), // reading it fails
	} {
		if step != nil {
			t.Fatal(step)
		}
	}

	for range 2 {
		log, err := jetstream.Embedded(config)
		if err == nil {
			log.Close()
			t.Fatal("a log that can't be read was opened")
		}
		if !strings.Contains(err.Error(), "can't read the messages") {
			t.Errorf("the error is %v", err)
		}
	}

	if _, err := os.Stat(filepath.Join(filepath.Dir(block), "index.db")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what servers that could not read it have noted: %v", err)
	}

	if err := os.Remove(block); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(aside, block); err != nil {
		t.Fatal(err)
	}
	log = openEmbedded(t, config)
	defer log.Close()
	if got := readAll(t, log, "ops"); len(got) != 2 || got[0].Text != "one" || got[1].Sequence != second {
		t.Errorf("the room has %v", got)
	}
}

// Messages that are where the server used to keep them are found, and get shelter.
func TestMessagesWithoutShelterAreFound(t *testing.T) {
	config := jetstream.EmbeddedConfig{Dir: t.TempDir() + "/log"}
	log := openEmbedded(t, config)
	appendOne(t, log, said("ops", 0, "one"))
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	messages, stream := filepath.Join(config.Dir, "messages"), filepath.Join(config.Dir, "store/jetstream/$G/streams/CHAT")
	if err := os.Remove(stream); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(messages, stream); err != nil {
		t.Fatal(err)
	}

	log = openEmbedded(t, config)
	if got := readAll(t, log, "ops"); len(got) != 1 {
		t.Errorf("the room has %v", got)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Readlink(stream); err != nil {
		t.Error(err)
	}

	// A copy that follows links has them twice: which of them is newer nobody knows.
	if err := os.Remove(stream); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(stream, os.DirFS(messages)); err != nil {
		t.Fatal(err)
	}
	if log, err := jetstream.Embedded(config); err == nil {
		log.Close()
		t.Error("a folder with two logs was opened")
	}
	if err := os.RemoveAll(stream); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(t.TempDir(), stream); err != nil {
		t.Fatal(err)
	}
	if log, err := jetstream.Embedded(config); err == nil {
		log.Close()
		t.Error("a link to somewhere else was followed")
	}
}

// A log that is new is nothing to warn of; one whose messages are not where its link
// leads is not taken for new.
func TestALogIsNewOnce(t *testing.T) {
	var told bytes.Buffer
	config := jetstream.EmbeddedConfig{Logger: slog.New(slog.NewTextHandler(&told, nil))}
	const slow = 2 * time.Second // of which a server says that it took so long
	for took := slow; took >= slow; {
		told.Reset()
		config.Dir = t.TempDir() + "/log"
		begun := time.Now()
		if err := openEmbedded(t, config).Close(); err != nil {
			t.Fatal(err)
		}
		took = time.Since(begun)
	}
	if told.Len() > 0 {
		t.Errorf("of a new log is said: %s", &told)
	}
	aside := t.TempDir() + "/aside"
	if err := os.Rename(config.Dir+"/messages", aside); err != nil {
		t.Fatal(err)
	}
	if log, err := jetstream.Embedded(config); err == nil {
		log.Close()
		t.Error("a log without its messages was opened")
	}
	if err := os.Rename(aside, config.Dir+"/messages"); err != nil {
		t.Fatal(err)
	}
	if err := openEmbedded(t, config).Close(); err != nil {
		t.Error(err)
	}
}

// Messages that are there and can't be read are not taken for absent, which would
// have readers skip them.
func TestMessagesThatCannotBeReadAreMissed(t *testing.T) {
	config := jetstream.EmbeddedConfig{Dir: t.TempDir() + "/log"}
	log := openEmbedded(t, config)
	first := appendOne(t, log, said("gone", 0, "one"))
	second := appendOne(t, log, said("gone", first, "two"))
	partly := appendOne(t, log, said("partly", 0, "one"))
	large := uint64(0)
	for range 20 {
		large = appendOne(t, log, said("large", large, strings.Repeat("x", 1<<20)))
	}
	last := appendOne(t, log, said("partly", partly, "two"))
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	log = openEmbedded(t, config) // with nothing of the first block in memory
	defer log.Close()
	blocks, err := filepath.Glob(config.Dir + "/messages/msgs/*.blk")
	if err != nil || len(blocks) < 2 {
		t.Fatal(blocks, err)
	}
	slices.SortFunc(blocks, func(a, b string) int { return cmp.Or(len(a)-len(b), strings.Compare(a, b)) })
	if err := os.Remove(blocks[0]); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(blocks[0], 0o700); err != nil {
		t.Fatal(err)
	}

	within := func() context.Context { // the server does not answer all that it can't: for what is to fail
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		t.Cleanup(cancel)
		return ctx
	}
	if newest, err := log.Newest(within(), "gone"); !errors.Is(err, room.ErrUnavailable) {
		t.Errorf("the newest of a room that can't be read is %d, %v", newest, err)
	}
	for _, read := range []struct {
		key   room.Key
		after uint64
	}{{"gone", 0}, {"gone", first}, {"partly", 0}} {
		if entries, _, err := log.Read(within(), read.key, read.after, 10); err == nil {
			t.Errorf("%s after %d reads %v", read.key, read.after, entries)
		}
	}
	if first, err := log.Append(within(), []room.Draft{said("gone", second, "three")}); !errors.Is(err, room.ErrUnavailable) {
		t.Errorf("an append gave %d, %v", first, err)
	}
	for key, want := range map[room.Key]uint64{"partly": last, "large": large, "empty": 0} {
		if newest, err := log.Newest(t.Context(), key); newest != want || err != nil {
			t.Errorf("the newest of %s is %d, %v", key, newest, err)
		}
	}
	if entries, more, err := log.Read(t.Context(), "empty", 0, 10); len(entries) > 0 || more || err != nil {
		t.Errorf("an empty room reads %v, %v, %v", entries, more, err)
	}
}

// A message that the disk has spoiled is left out by the server: readers see that one
// is missing, wherever in a page it would be.
func TestASpoiledMessageIsMissed(t *testing.T) {
	config := jetstream.EmbeddedConfig{Dir: t.TempDir() + "/log"}
	log := openEmbedded(t, config)
	stored := make([]uint64, 4)
	for i, text := range []string{"one", "two", "spoiled", "four"} {
		stored[i] = appendOne(t, log, said("ops", stored[max(i-1, 0)], text))
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	blocks, err := filepath.Glob(config.Dir + "/messages/msgs/*.blk")
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

	log = openEmbedded(t, config)
	defer log.Close()
	entries, more, err := log.Read(t.Context(), "ops", 0, 10)
	if err != nil || len(entries) != 2 || entries[1].Sequence != stored[1] || !more {
		t.Errorf("the room reads %v, %v, %v; want the first two, and that there are more", entries, more, err)
	}
	entries, more, err = log.Read(t.Context(), "ops", stored[1], 10)
	if err != nil || len(entries) != 1 || entries[0].Previous != stored[2] {
		t.Errorf("what follows reads %v, %v, %v; want the last, and what it came after", entries, more, err)
	}
}
