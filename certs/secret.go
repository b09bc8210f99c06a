package certs

import (
	"fmt"
	"io/fs"
	"os"
	"runtime"
)

// checkSecret says whether a file that holds a secret, such as a private key or
// a token, is closed to those whom it does not concern, where the system has
// such permissions: only its owner may read it. Where the owner is root and this
// process is not, its group may too, because that is how orchestrators mount
// secrets for the processes they run. The path is for the error's advice.
func checkSecret(info fs.FileInfo, path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	open := info.Mode().Perm() & 0o077
	if ownedByRoot(info) && os.Geteuid() != 0 {
		open &^= 0o040
	}
	if open != 0 {
		return fmt.Errorf("may be read by others (mode %04o): run `chmod 600 %s`", info.Mode().Perm(), path)
	}
	return nil
}
