//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package certs

import (
	"os"
	"syscall"
)

// lockDir keeps other processes from changing a folder until unlock is called.
func lockDir(dir string) (unlock func(), err error) {
	folder, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(folder.Fd()), syscall.LOCK_EX); err != nil {
		folder.Close()
		return nil, err
	}
	return func() { folder.Close() }, nil // closing releases the lock
}
