package auth

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// reports is a log that can be waited on: one entry is one value.
type reports chan string

func (r reports) Write(entry []byte) (int, error) {
	r <- string(entry)
	return len(entry), nil
}

func (r reports) logger() *slog.Logger { return slog.New(slog.NewTextHandler(r, nil)) }

// within fails unless the event comes within the time given.
func within[T any](t *testing.T, limit time.Duration, event <-chan T, what string) (value T) {
	t.Helper()
	select {
	case value = <-event:
	case <-time.After(limit):
		t.Fatalf("%s: not within %v", what, limit)
	}
	return value
}

// notWithin fails if the event comes within the time given.
func notWithin[T any](t *testing.T, limit time.Duration, event <-chan T, what string) {
	t.Helper()
	select {
	case <-event:
		t.Fatalf("%s", what)
	case <-time.After(limit):
	}
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestKeyFilesRefusedAtStart(t *testing.T) {
	dir := t.TempDir()
	path := func(name, content string) string {
		path := filepath.Join(dir, name)
		writeFile(t, path, content)
		return path
	}
	for name, path := range map[string]string{
		"missing":   filepath.Join(dir, "none.json"),
		"a folder":  dir,
		"empty":     path("empty.json", ""),
		"broken":    path("broken.json", `{"keys":[`),
		"no keys":   path("nokeys.json", `{"keys":[]}`),
		"too large": path("large.json", setOf(jwkOf(newEd25519Signer(t), "a", nil))+strings.Repeat(" ", maxKeySetBytes)),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Keys(path)
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), path) {
				t.Errorf("the error does not name the file: %v", err)
			}
		})
	}
}

// However a file is replaced, the new keys are in force within a second, and the
// old are gone.
func TestKeyFileFollowed(t *testing.T) {
	rename := func(t *testing.T, path, content string) {
		writeFile(t, path+".new", content)
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	// As Kubernetes does it: the path is a link into a folder that is a link.
	swapLink := func(t *testing.T, path, content string) {
		target := path + ".target"
		writeFile(t, target, content)
		if err := os.Symlink(target, path+".link"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".link", path); err != nil {
			t.Fatal(err)
		}
	}
	// Written again so soon that neither size nor time tells.
	sameTime := func(t *testing.T, path, content string) {
		before, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, path, content)
		if err := os.Chtimes(path, before.ModTime(), before.ModTime()); err != nil {
			t.Fatal(err)
		}
	}
	for name, replace := range map[string]func(t *testing.T, path, content string){
		"written in place": writeFile, "renamed": rename, "link swapped": swapLink, "in the same tick": sameTime,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				old, young := newEd25519Signer(t), newEd25519Signer(t)
				path := filepath.Join(t.TempDir(), "jwks.json")
				writeFile(t, path, setOf(jwkOf(old, "old", nil)))
				feed, err := Keys(path, KeyLogger(slog.New(slog.DiscardHandler)))
				if err != nil {
					t.Fatal(err)
				}
				defer feed.Close()
				if _, err := feed.Key(t.Context(), "old"); err != nil || !feed.Has("old") || feed.Has("new") {
					t.Fatalf("at first: %v", err)
				}
				changed := feed.Changed()
				replace(t, path, setOf(jwkOf(young, "new", nil)))
				within(t, time.Second, changed, "change")
				if _, err := feed.Key(t.Context(), "new"); err != nil || feed.Has("old") || !feed.Has("new") {
					t.Errorf("after the change: %v", err)
				}
				_, err = feed.Key(t.Context(), "old")
				if reason, _ := ReasonOf(err); reason != TokenKeyUnknown {
					t.Errorf("the old key: %v", err)
				}
			})
		})
	}
}

// A replacement that cannot be used is reported once, counted, and changes
// nothing; a good one after it is taken up.
func TestKeyFileKeepsTheLastGood(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, path string){
		"half-written": func(t *testing.T, path string) { writeFile(t, path, `{"keys":[{"kty":"OKP"`) },
		"empty":        func(t *testing.T, path string) { writeFile(t, path, "") },
		"a private key in it": func(t *testing.T, path string) {
			writeFile(t, path, setOf(jwkOf(newEd25519Signer(t), "x", members{"d": `"c2VjcmV0"`})))
		},
		"removed": func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := make(reports, 10)
				path := filepath.Join(t.TempDir(), "jwks.json")
				good := setOf(jwkOf(newEd25519Signer(t), "good", nil))
				writeFile(t, path, good)
				feed, err := KeyFile(path, KeyLogger(log.logger()))
				if err != nil {
					t.Fatal(err)
				}
				defer feed.Close()
				changed := feed.Changed()

				spoil(t, path)
				entry := within(t, time.Second, log, "report")
				if !strings.Contains(entry, path) || strings.Contains(entry, "c2VjcmV0") {
					t.Errorf("reported as %s", entry)
				}
				notWithin(t, 3*time.Second, log, "reported twice")
				if got := feed.State().Broken; got != 1 {
					t.Errorf("%d failures counted", got)
				}
				if _, err := feed.Key(t.Context(), "good"); err != nil {
					t.Errorf("the last good key: %v", err)
				}

				writeFile(t, path, good)
				notWithin(t, 3*time.Second, changed, "the same keys are a change")
				writeFile(t, path, setOf(jwkOf(newEd25519Signer(t), "better", nil)))
				within(t, time.Second, changed, "change")
				if !feed.Has("better") {
					t.Error("the better keys are not in force")
				}
			})
		})
	}
}

func TestKeyFileClosed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jwks.json")
	writeFile(t, path, setOf(jwkOf(newEd25519Signer(t), "a", nil)))
	feed, err := KeyFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := feed.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := feed.Key(t.Context(), "a"); err != nil {
		t.Errorf("the keys of a closed feed stay in force: %v", err)
	}
}
