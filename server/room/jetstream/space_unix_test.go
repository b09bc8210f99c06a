//go:build darwin || freebsd || linux

package jetstream

import (
	"strings"
	"testing"
)

func TestEnoughSpace(t *testing.T) {
	dir := t.TempDir()
	err := enoughSpace(dir, 1<<60)
	if err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("2 EiB: got %v, want an error that names the folder", err)
	}
	if err := enoughSpace(dir, 1); err != nil {
		t.Errorf("one byte: %v", err)
	}
}
