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
	written, changed, ok := g.inodeTimes()
	return ok && (changed.Sec > written.Sec || changed.Sec == written.Sec && changed.Nsec > written.Nsec)
}

// touched says whether the inode was changed since the glimpse before, which shows a
// write even where the file's size and time are as they were.
func (g glimpse) touched(before glimpse) bool {
	_, now, ok := g.inodeTimes()
	_, was, known := before.inodeTimes()
	return ok && known && now != was
}

// inodeTimes returns when the contents were written and when the inode was changed.
// The latter is the system's own: nobody sets it.
func (g glimpse) inodeTimes() (written, changed syscall.Timespec, ok bool) {
	stat, ok := g.Sys().(*syscall.Stat_t)
	if !ok {
		return written, changed, false
	}
	return stat.Mtim, stat.Ctim, true
}
