//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package certs

import (
	"errors"
	"math/big"
	"os"
	"syscall"
	"testing"
	"time"
)

// While a list is changed, no other process may begin to.
func TestRevokeHoldsTheFolder(t *testing.T) {
	dir := t.TempDir()
	ca := must(InitCA(dir, CAOptions{}))(t)
	folder := must(os.Open(dir))(t)
	defer folder.Close()
	asked := false
	ca.clock = func() time.Time {
		asked = true
		if err := syscall.Flock(int(folder.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); !errors.Is(err, syscall.EWOULDBLOCK) {
			t.Errorf("the folder could be locked: %v", err)
		}
		return time.Now()
	}
	if err := ca.revoke(big.NewInt(7), Unspecified); err != nil || !asked {
		t.Errorf("asked %v: %v", asked, err)
	}
}
