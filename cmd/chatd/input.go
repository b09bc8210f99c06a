package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

const (
	// maxInput bounds what is read from a file or stdin, in bytes.
	maxInput = 16 << 20
	stdin    = "-"
)

// readInput reads a file, or stdin where the name is "-".
func readInput(c *cobra.Command, name string) ([]byte, error) {
	if name == stdin {
		if file, ok := c.InOrStdin().(*os.File); ok && term.IsTerminal(int(file.Fd())) {
			return nil, usage("stdin is a terminal: name a file, or pipe it in")
		}
		return readAll("stdin", c.InOrStdin())
	}
	file, err := os.Open(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s does not exist: check the path", name)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%s may not be read by this user", name)
	case err != nil:
		return nil, err
	}
	defer file.Close()
	return readAll(name, file)
}

func readAll(name string, r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxInput+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(text) > maxInput {
		return nil, fmt.Errorf("%s is larger than %d MiB, which is more than such a file has", name, maxInput>>20)
	}
	return text, nil
}
