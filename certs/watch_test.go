package certs

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

func TestWatchEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	calls := 0
	Watch(ctx, time.Millisecond, []string{"", filepath.Join(t.TempDir(), "absent")}, func() {
		if calls++; calls == 3 {
			cancel()
		}
	})
	if calls < 3 {
		t.Errorf("%d calls", calls)
	}
}

// A process that is stopped after its first look at a change, or whose look takes
// long, has its second look all the same.
func TestWatchLooksAgainHoweverLateItIs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		calls := 0
		Watch(ctx, 0, []string{path}, func() {
			calls++
			<-time.After(2 * settling)
			if calls == 1 {
				if err := os.WriteFile(path, []byte("text"), 0o600); err != nil {
					t.Error(err)
				}
			}
		})
		if want := 1 + 1 + settlingLooks; calls != want { // at the start, at the change, and after it
			t.Errorf("%d calls, want %d", calls, want)
		}
	})
}

func TestGlimpseSeesEachKindOfChange(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"time":    func(path string) error { return os.Chtimes(path, time.Unix(1, 0), time.Unix(1, 0)) },
		"size":    func(path string) error { return os.Truncate(path, 1) },
		"mode":    func(path string) error { return os.Chmod(path, 0o400) },
		"removed": os.Remove,
		"another": func(path string) error {
			info, err := os.Stat(path)
			if err == nil {
				err = os.WriteFile(path+".new", []byte("text"), 0o600)
			}
			if err == nil {
				err = os.Chtimes(path+".new", info.ModTime(), info.ModTime())
			}
			if err == nil {
				err = os.Rename(path+".new", path)
			}
			return err
		},
	} {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, []byte("text"), 0o600); err != nil {
			t.Fatal(err)
		}
		before := look([]string{path})[0]
		if !before.same(look([]string{path})[0]) {
			t.Errorf("%s: a change was seen where there is none", name)
		}
		if err := change(path); err != nil {
			t.Fatal(err)
		}
		if before.same(look([]string{path})[0]) {
			t.Errorf("%s: not seen", name)
		}
	}
}
