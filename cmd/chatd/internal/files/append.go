package files

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// AppendLine adds a line to a text file in its place, so that owner, mode and
// links stay as they are. next is given what the file has and returns the line,
// without its end, or "" to leave the file alone; what it returns an error for
// changes nothing. Where the system has locks, concurrent calls, of other
// processes too, wait for each other. A write that fails is taken back. Where
// another program has replaced the file meanwhile, the line may be lost, and that is
// an error.
//
// The file must exist and have at most limit bytes.
func AppendLine(path string, limit int64, next func(text []byte) (line string, err error)) (err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s does not exist: check the path, or create the file first", path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s may not be written by this user", path)
	case err != nil:
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := lock(file); err != nil {
		return fmt.Errorf("lock %s: %w", path, err)
	}
	text, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if int64(len(text)) > limit {
		return fmt.Errorf("%s is larger than %d bytes, which is more than such a file has", path, limit)
	}
	line, err := next(text)
	if err != nil || line == "" {
		return err
	}
	if len(text) > 0 && text[len(text)-1] != '\n' {
		line = "\n" + line
	}
	_, err = file.WriteString(line + "\n")
	if err == nil {
		err = file.Sync()
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, errors.Join(err, file.Truncate(int64(len(text)))))
	}
	return stillAt(path, file)
}

// stillAt returns an error unless the path leads to the file.
func stillAt(path string, file *os.File) error {
	mine, err := file.Stat()
	if err != nil {
		return err
	}
	if now, err := os.Stat(path); err != nil || !os.SameFile(mine, now) {
		return fmt.Errorf("%s was replaced by another program while the line was added, and may lack it: look, and add it again", path)
	}
	return nil
}
