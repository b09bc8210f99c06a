package files

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Lines that are added at once are all there, whole, and what next refuses
// changes nothing.
func TestAppendLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "list.txt")
	if err := AppendLine(path, 1<<10, func([]byte) (string, error) { return "x", nil }); err == nil {
		t.Error("a file was made that was not there")
	}
	if err := os.WriteFile(path, []byte("first"), 0o640); err != nil {
		t.Fatal(err)
	}
	refused := errors.New("refused")
	if err := AppendLine(path, 1<<10, func([]byte) (string, error) { return "x", refused }); !errors.Is(err, refused) {
		t.Errorf("got %v, want what next said", err)
	}
	if err := AppendLine(path, 4, func([]byte) (string, error) { return "x", nil }); err == nil {
		t.Error("a file beyond the limit was added to")
	}
	var adding sync.WaitGroup
	for i := range 20 {
		adding.Go(func() {
			if err := AppendLine(path, 1<<10, func(text []byte) (string, error) {
				return fmt.Sprintf("line %d after %d", i, strings.Count(string(text), "line")), nil
			}); err != nil {
				t.Error(err)
			}
		})
	}
	adding.Wait()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if len(lines) != 21 || lines[0] != "first" {
		t.Fatalf("the file is %q", text)
	}
	for i, line := range lines[1:] {
		if !strings.HasSuffix(line, fmt.Sprintf(" after %d", i)) {
			t.Errorf("line %d is %q: it did not wait for the one before", i, line)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the mode is %v, %v, want 0640", info.Mode(), err)
	}
}

// A file that another program replaces meanwhile does not have the line, and who
// adds it is told so.
func TestAppendLineToAFileThatIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "list.txt")
	for _, name := range []string{path, path + ".new"} {
		if err := os.WriteFile(name, []byte("first\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	err := AppendLine(path, 1<<10, func([]byte) (string, error) {
		return "x", os.Rename(path+".new", path)
	})
	if err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want that %s was replaced", err, path)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "first\n" {
		t.Errorf("the file is %q, %v", text, err)
	}
}
