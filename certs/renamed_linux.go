package certs

import (
	"os"
	"syscall"
)

// renamedOver says whether the file is another than the one before and was renamed
// to its name after it had been written. A rename changes the time of the inode
// (ctime); a write changes that of the contents (mtime) to the same, so that a
// file that is being written never looks renamed. One that was renamed within
// the same tick of the file system's clock does not either, and has to settle.
func (g glimpse) renamedOver(before glimpse) bool {
	if os.SameFile(g.FileInfo, before.FileInfo) {
		return false
	}
	stat, ok := g.Sys().(*syscall.Stat_t)
	if !ok {
		return false
	}
	written, changed := stat.Mtim, stat.Ctim
	return changed.Sec > written.Sec || changed.Sec == written.Sec && changed.Nsec > written.Nsec
}
