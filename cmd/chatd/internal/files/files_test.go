package files_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"securechat/cmd/chatd/internal/files"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCreateOverwritesNothingAndLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	first, second := filepath.Join(dir, "first"), filepath.Join(dir, "second")
	if err := os.WriteFile(second, []byte("there"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := files.Create(files.File{Path: first, Text: []byte("new"), Mode: files.Secret}, files.File{Path: second, Text: []byte("new"), Mode: files.Secret})
	if err == nil || !strings.Contains(err.Error(), second) {
		t.Errorf("Create: %v, want an error that names %s", err, second)
	}
	if text, err := os.ReadFile(second); err != nil || string(text) != "there" {
		t.Errorf("what was there is now %q, %v", text, err)
	}
	wantNames(t, dir, "second")
}

func TestModes(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "new", "folder", "file")
	if err := files.Create(files.File{Path: path, Text: []byte("1"), Mode: files.Secret}); err != nil {
		t.Fatal(err)
	}
	wantMode(t, path, 0o600)
	wantMode(t, filepath.Dir(path), 0o700)
	if err := (files.File{Path: path, Text: []byte("2"), Mode: files.Public}).Replace(); err != nil {
		t.Fatal(err)
	}
	wantMode(t, path, 0o644)
	wantNames(t, filepath.Dir(path), "file")
	if text, err := os.ReadFile(path); err != nil || string(text) != "2" {
		t.Errorf("the file has %q, %v", text, err)
	}
}

func wantMode(t *testing.T, path string, want os.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != want {
		t.Errorf("%s has mode %o, want %o", path, info.Mode().Perm(), want)
	}
}

func wantNames(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	if strings.Join(names, " ") != strings.Join(want, " ") {
		t.Errorf("%s has %v, want %v", dir, names, want)
	}
}
