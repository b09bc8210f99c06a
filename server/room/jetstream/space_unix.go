//go:build darwin || freebsd || linux

package jetstream

import (
	"fmt"
	"syscall"
)

// enoughSpace fails if the disk that holds the folder has no room for so many
// bytes, which are written twice.
func enoughSpace(dir string, size int64) error {
	var stat syscall.Statfs_t
	if err := syscall.Statfs(dir, &stat); err != nil {
		return nil // the write will tell
	}
	free, needed := uint64(stat.Bavail)*uint64(stat.Bsize), uint64(reserve+2*size)
	if free < needed {
		return fmt.Errorf("the disk that holds %s is full: it has %d KiB left and %d KiB are needed: make room on it", dir, free>>10, needed>>10)
	}
	return nil
}
