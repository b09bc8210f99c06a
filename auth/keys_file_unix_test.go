//go:build unix

package auth

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Opening a pipe would block until someone writes to it.
func TestKeyFileIsNoPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jwks.json")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := KeyFile(path); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("got %v", err)
	}
}
