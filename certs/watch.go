package certs

import (
	"context"
	"io/fs"
	"os"
	"slices"
	"time"
)

// DefaultInterval is how often files are looked at. A change is seen after one
// interval, and taken up then if it was renamed into place, after a second one if
// it has settled by then, and after a third one whatever happens.
const DefaultInterval = 200 * time.Millisecond

// settling is how long after a change a file is read again and again: a file
// system with coarse times does not show a second write soon after the first.
const settling = 2 * time.Second

// settlingLooks is how often it is read again at the least, however long that
// takes: the process may be stopped, or its disk busy, for longer than settling,
// and who waits for a second look at a change must have it.
const settlingLooks = 3

// Watch calls changed when one of the files may have changed, until ctx ends, and
// then returns. It looks at each path's metadata once an interval
// (DefaultInterval if zero), following symbolic links, and so sees a file that is
// renamed into place, written in place, removed, or reached by another link, on
// any file system. Empty paths are passed over.
//
// It calls changed once at its start, so that nothing between a first read and
// the watch is lost, at each change, and at each interval in the 2 seconds after
// one, but 3 times at the least: a caller compares what it reads with what it had.
// Calls do not overlap.
func Watch(ctx context.Context, interval time.Duration, paths []string, changed func()) {
	if interval <= 0 {
		interval = DefaultInterval
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	last := look(paths)
	until, looks := time.Now().Add(settling), settlingLooks
	for {
		changed()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			now := look(paths)
			if !slices.EqualFunc(last, now, glimpse.same) {
				last, until, looks = now, time.Now().Add(settling), settlingLooks
				break
			}
			if looks > 0 || time.Now().Before(until) {
				looks--
				break
			}
		}
	}
}

// A glimpse is a file's metadata at one moment; nil where there is no file.
type glimpse struct{ fs.FileInfo }

func look(paths []string) []glimpse {
	seen := make([]glimpse, 0, len(paths))
	for _, path := range paths {
		if path == "" {
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			info = nil
		}
		seen = append(seen, glimpse{info})
	}
	return seen
}

func (g glimpse) same(other glimpse) bool {
	if g.FileInfo == nil || other.FileInfo == nil {
		return g.FileInfo == nil && other.FileInfo == nil
	}
	return os.SameFile(g.FileInfo, other.FileInfo) &&
		g.Size() == other.Size() &&
		g.Mode() == other.Mode() &&
		g.ModTime().Equal(other.ModTime()) &&
		!g.touched(other)
}
