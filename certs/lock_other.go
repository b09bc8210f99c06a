//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package certs

// lockDir does nothing here: run one program at a time on an authority's folder.
func lockDir(string) (unlock func(), err error) { return func() {}, nil }
