package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/muesli/cancelreader"
)

// maxText is how long a text may be, in bytes. Servers take messages of 256 KiB
// by default, and the text must leave room for what else is in one.
const maxText = 255 << 10

// texts gives what is to be sent. For one goroutine.
type texts interface {
	// next returns the next text, and io.EOF after the last.
	next() (string, error)
	// name says which text next returned last.
	name() string
	// stop makes a next that is blocked return, and all later ones. It may be
	// called while next runs.
	stop()
}

// lines gives the lines of a reader, without their ends. The last one needs none.
type lines struct {
	scanner   *bufio.Scanner
	number    int
	interrupt func() // nil: reading does not block for long
}

func newLines(r io.Reader) *lines {
	scanner := bufio.NewScanner(r)
	const lineEnd = 2
	scanner.Buffer(make([]byte, 0, 64<<10), maxText+lineEnd+1)
	return &lines{scanner: scanner}
}

func (l *lines) next() (string, error) {
	if l.scanner.Scan() {
		l.number++
		if text := l.scanner.Text(); len(text) <= maxText {
			return text, nil
		}
		return "", l.tooLong()
	}
	switch err := l.scanner.Err(); {
	case err == nil:
		return "", io.EOF
	case errors.Is(err, bufio.ErrTooLong):
		l.number++
		return "", l.tooLong()
	default:
		return "", fmt.Errorf("read line %d: %w", l.number+1, err)
	}
}

func (l *lines) tooLong() error {
	return fmt.Errorf("line %d is longer than %d KiB: send it in parts", l.number, maxText>>10)
}

func (l *lines) stop() {
	if l.interrupt != nil {
		l.interrupt()
	}
}

func (l *lines) name() string { return fmt.Sprintf("line %d", l.number) }

// stdin gives the lines of a program's input. release frees what that takes.
func stdin(r io.Reader) (l *lines, release func()) {
	file, ok := r.(*os.File)
	if !ok {
		return newLines(r), func() {}
	}
	reader, err := cancelreader.NewReader(file)
	if err != nil { // it is a file or a device, which do not block
		return newLines(r), func() {}
	}
	l = newLines(reader)
	l.interrupt = func() { reader.Cancel() }
	return l, func() { _ = reader.Close() }
}
