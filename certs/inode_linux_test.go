package certs

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// What was renamed into place, or is reached by another link, is whole at the
// first look; what was written where it is may not be.
func TestWholeAtTheFirstLook(t *testing.T) {
	for name, test := range map[string]struct {
		replace func(t *testing.T, path string) error
		want    bool
	}{
		"written in place": {func(_ *testing.T, path string) error { return os.WriteFile(path, []byte("other text"), 0o600) }, false},
		"removed":          {func(_ *testing.T, path string) error { return os.Remove(path) }, false},
		"removed and written": {func(_ *testing.T, path string) error {
			if err := os.Rename(path, path+".old"); err != nil { // keeps its inode from being used again
				return err
			}
			return os.WriteFile(path, []byte("other text"), 0o600)
		}, false},
		"renamed and written": {func(t *testing.T, path string) error {
			if err := renameOver(path); err != nil {
				return err
			}
			return os.WriteFile(path, []byte("still other text"), 0o600)
		}, false},
		"renamed": {func(t *testing.T, path string) error { return renameOver(path) }, true},
		"link swapped": {func(t *testing.T, path string) error {
			dir := filepath.Dir(filepath.Dir(path))
			if err := os.Mkdir(filepath.Join(dir, "2"), 0o700); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(dir, "2", "file"), []byte("other text"), 0o600); err != nil {
				return err
			}
			if err := os.Symlink("2", filepath.Join(dir, "next")); err != nil {
				return err
			}
			return os.Rename(filepath.Join(dir, "next"), filepath.Join(dir, "data"))
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "data", "file")
			for _, err := range []error{
				os.Mkdir(filepath.Join(dir, "1"), 0o700),
				os.Symlink("1", filepath.Join(dir, "data")),
				os.WriteFile(path, []byte("text"), 0o600),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
			read := func() ([][]byte, error) {
				text, err := readFile(path)
				return [][]byte{text}, err
			}
			var r record
			r.settle(see([]string{path}, read), true)
			if err := test.replace(t, path); err != nil {
				t.Fatal(err)
			}
			if is := r.settle(see([]string{path}, read), false); is.counts != test.want || is.whole != test.want || !is.patient {
				t.Errorf("at the first look: %+v", is)
			}
		})
	}
}

// renameOver puts another file in the place of one. It was written a while ago, as
// the clock of a file system may be coarse.
func renameOver(path string) error {
	if err := os.WriteFile(path+".new", []byte("other text"), 0o600); err != nil {
		return err
	}
	ago := time.Now().Add(-time.Second)
	if err := os.Chtimes(path+".new", ago, ago); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// A file may be written where it is, with as many bytes as before and its time set
// back to what it was, as some tools that copy do: it is seen by the time of its
// inode, which nobody sets.
func TestWrittenWithItsSizeAndTimeKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("jti first "), 0o600); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		var taken string
		f, err := Follow(File{Name: "list", Path: path, Take: func(text []byte) error { taken = string(text); return nil }})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		<-time.After(2 * settling)
		inode := func() syscall.Timespec {
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			return info.Sys().(*syscall.Stat_t).Ctim
		}
		for was := inode(); inode() == was; { // as soon as the clock of the file system ticks
			if err := os.WriteFile(path, []byte("jti second"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(path, before.ModTime(), before.ModTime()); err != nil {
				t.Fatal(err)
			}
		}
		<-time.After(time.Second)
		synctest.Wait()
		if taken != "jti second" {
			t.Errorf("what is in force is %q", taken)
		}
	})
}
