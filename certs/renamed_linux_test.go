package certs

import (
	"os"
	"path/filepath"
	"testing"
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
