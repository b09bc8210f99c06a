//go:build !linux

package jetstream

import "os"

// readAnew does nothing where the system takes no such request.
func readAnew(*os.File) {}
