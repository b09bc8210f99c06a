//go:build unix

package jetstream_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"securechat/server/room"
	"securechat/server/room/jetstream"
)

// childFolder, in the environment, makes the test binary a process that appends to
// the log in that folder until it is killed.
const childFolder = "JETSTREAM_TEST_CHILD_FOLDER"

// TestAppendUntilKilled is the child of TestKilled: in an ordinary run it has
// nothing to do.
func TestAppendUntilKilled(t *testing.T) {
	dir := os.Getenv(childFolder)
	if dir == "" {
		return
	}
	log := openEmbedded(t, jetstream.EmbeddedConfig{Dir: dir})
	newest := map[room.Key]uint64{}
	for _, key := range []room.Key{"a", "b"} {
		sequence, err := log.Newest(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		newest[key] = sequence
	}
	for round := 0; ; round++ {
		drafts := []room.Draft{said("a", newest["a"], fmt.Sprint(round))}
		if round%2 == 1 { // a batch
			drafts = append(drafts, said("b", newest["b"], fmt.Sprint(round)), said("a", 0, fmt.Sprint(round, "'")))
		}
		first, err := log.Append(t.Context(), drafts)
		if err != nil {
			t.Fatal(err)
		}
		for i, d := range drafts {
			newest[d.Room] = first + uint64(i)
			fmt.Printf("stored %d %s %s\n", first+uint64(i), d.Room, d.Text)
		}
	}
}

func TestKilled(t *testing.T) {
	dir := t.TempDir() + "/log"
	acknowledged := map[uint64]string{}
	for range 3 {
		for sequence, text := range appendAndKill(t, dir, 40) {
			acknowledged[sequence] = text
		}
		log := openEmbedded(t, jetstream.EmbeddedConfig{Dir: dir})
		wantStored(t, log, acknowledged)
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// appendAndKill runs a child that appends, kills it amid, and returns what it was
// told is stored.
func appendAndKill(t *testing.T, dir string, lines int) map[uint64]string {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run=^TestAppendUntilKilled$")
	child.Env = append(os.Environ(), childFolder+"="+dir)
	output, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	stored := map[uint64]string{}
	scanner := bufio.NewScanner(output)
	for scanner.Scan() {
		var sequence uint64
		var key, text string
		if _, err := fmt.Sscanf(scanner.Text(), "stored %d %s %s", &sequence, &key, &text); err != nil {
			continue
		}
		if stored[sequence] = key + " " + text; len(stored) == lines {
			if err := child.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	if err := child.Wait(); err == nil || len(stored) < lines {
		t.Fatalf("the child ended by itself (%v) after %d messages", err, len(stored))
	}
	return stored
}

// wantStored checks that all that was acknowledged is there and that no append is
// there in part.
func wantStored(t *testing.T, log room.Log, acknowledged map[uint64]string) {
	t.Helper()
	found := map[uint64]string{}
	for _, key := range []room.Key{"a", "b"} {
		var last uint64
		for _, e := range readAll(t, log, key) {
			if e.Previous != last {
				t.Errorf("%s: %d comes after %d, and says after %d", key, e.Sequence, last, e.Previous)
			}
			last = e.Sequence
			found[e.Sequence] = string(key) + " " + e.Text
		}
	}
	for sequence, text := range acknowledged {
		if found[sequence] != text {
			t.Errorf("%d %q was acknowledged, %q is there", sequence, text, found[sequence])
		}
	}
	for sequence, text := range found {
		if strings.HasPrefix(text, "b ") && (found[sequence-1] == "" || found[sequence+1] == "") {
			t.Errorf("%d %q is there without its neighbours", sequence, text)
		}
	}
}
