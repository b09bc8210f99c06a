package certs

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
)

// A sight is what one look at the files of a feed has shown.
type sight struct {
	texts  [][]byte
	err    error
	digest digest
	places []place // of each file
	steady bool    // nothing changed while the files were read
}

// A place is where a path led to, and what was there.
type place struct {
	glimpse
	target string // the path with its links resolved
}

// A standing says what to make of a sight. The zero standing is that of what may
// be in the midst of being written, and is left alone.
type standing struct {
	// counts: it is put in force if it is good.
	counts bool
	// whole: it is all there. Of lines that are not, the last may be cut off.
	whole bool
	// patient: if it is not good, the next look may tell more. Otherwise it is
	// broken.
	patient bool
}

// What changes from look to look counts at the third, 400 ms after the first by
// default: what it takes back must not wait until nobody writes to it any more. If
// it has not been good once in ten looks, somebody should know.
const (
	maxUnrest = 3
	maxDoubt  = 10
)

// maxReads bounds how often the files of a feed are read again that change while
// they are read.
const maxReads = 5

var (
	errRestless = errors.New("keeps changing: write it once, then rename it into place")
	errCutOff   = errors.New("the last line has no end")
)

// see reads the files, as they were at one time if they keep still for that.
func see(paths []string, read func() ([][]byte, error)) sight {
	var s sight
	for range maxReads {
		before := places(paths)
		s.texts, s.err = read()
		s.places = places(paths)
		if s.steady = slices.EqualFunc(before, s.places, place.same); s.steady {
			break
		}
	}
	s.digest = digestOf(s.texts, s.err)
	return s
}

func places(paths []string) []place {
	found := make([]place, 0, len(paths))
	for i, g := range look(paths) {
		target, err := filepath.EvalSymlinks(paths[i])
		if err != nil {
			target = "" // there is no file, or none any more
		}
		found = append(found, place{g, target})
	}
	return found
}

func (p place) same(other place) bool {
	return p.target == other.target && p.glimpse.same(other.glimpse)
}

// whole says whether each file that is not the one seen before was brought there
// by a rename, or by changing a link, and not written in its place.
func (s sight) whole(before sight) bool {
	if len(before.places) != len(s.places) {
		return false
	}
	for i, now := range s.places {
		was := before.places[i]
		switch {
		case was.FileInfo == nil || now.FileInfo == nil:
			return false
		case now.same(was):
		case now.target == was.target && !now.renamedOver(was.glimpse):
			return false
		}
	}
	return true
}

// readable returns what stands against parsing what was seen. Lines says that the
// files are of lines.
func (s sight) readable(is standing, lines bool) error {
	if s.err == nil && lines && !is.whole {
		for _, text := range s.texts {
			if !bytes.HasSuffix(text, []byte("\n")) {
				return errCutOff
			}
		}
	}
	return s.err
}

// broken returns what is wrong with what was seen, where err is, and what to
// remember it by.
func (s sight) broken(is standing, err error) (digest, error) {
	if is.whole {
		return s.digest, err
	}
	return digestOf(nil, errRestless), fmt.Errorf("%w (%w)", errRestless, err)
}
