//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package jetstream

import "io/fs"

// checkFolder accepts any folder: see to it that it is yours alone.
func checkFolder(fs.FileInfo, string) error { return nil }

// Lock does nothing here: run one program at a time on a folder.
func Lock(string) (unlock func() error, err error) { return func() error { return nil }, nil }
