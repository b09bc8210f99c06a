package jetstream

import (
	"os"

	"golang.org/x/sys/unix"
)

// readAnew has the system read what a file holds from the disk when it is wanted
// next, and not from memory. It is a request: a file system may know no such thing,
// or have no disk.
func readAnew(file *os.File) {
	const wholeFile = 0
	_ = unix.Fadvise(int(file.Fd()), 0, wholeFile, unix.FADV_DONTNEED)
}
