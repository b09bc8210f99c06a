//go:build unix

package certs

import (
	"io/fs"
	"os"
	"syscall"
	"testing"
	"time"
)

// secretFile is a file of which only owner and mode matter.
type secretFile struct {
	mode fs.FileMode
	uid  uint32
}

func (f secretFile) Name() string      { return "key" }
func (f secretFile) Size() int64       { return 1 }
func (f secretFile) Mode() fs.FileMode { return f.mode }
func (secretFile) ModTime() time.Time  { return time.Time{} }
func (secretFile) IsDir() bool         { return false }
func (f secretFile) Sys() any          { return &syscall.Stat_t{Uid: f.uid} }

func TestCheckSecret(t *testing.T) {
	other := os.Geteuid() != 0 // root's files get no allowance from root itself
	for _, test := range []struct {
		name string
		file secretFile
		ok   bool
	}{
		{"everybody may read it", secretFile{0o644, 0}, false},
		{"the group may write it", secretFile{0o660, 0}, false},
		{"the group may read it", secretFile{0o640, 1000}, false},
		{"the group may read it and root owns it", secretFile{0o440, 0}, other},
		{"the owner alone may read it", secretFile{0o600, 1000}, true},
	} {
		if err := checkSecret(test.file, "key"); (err == nil) != test.ok {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}
