// Package files writes files whole or not at all.
package files

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// The modes of files.
const (
	Secret fs.FileMode = 0o600
	Public fs.FileMode = 0o644

	folderMode fs.FileMode = 0o700
)

// A File is a file to be.
type File struct {
	Path string
	Text []byte
	Mode fs.FileMode
}

// Create makes all of the files, or none where one exists already. Each is whole
// before it gets its name, and missing folders are made, open to their owner
// alone.
func Create(files ...File) (err error) {
	var done []string
	defer func() {
		if err != nil {
			for _, path := range done {
				_ = os.Remove(path) // the error that matters is err
			}
		}
	}()
	for _, f := range files {
		staged, err := f.stage()
		if err != nil {
			return err
		}
		err = os.Link(staged, f.Path)
		_ = os.Remove(staged) // a leftover is whole and has the right mode
		if err != nil && !errors.Is(err, fs.ErrExist) {
			err = f.exclusive()
		}
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%s exists and is not overwritten: move it away, or choose another path", f.Path)
		}
		if err != nil {
			return fmt.Errorf("create %s: %w", f.Path, err)
		}
		done = append(done, f.Path)
	}
	return nil
}

// exclusive is for file systems without hard links.
func (f File) exclusive() error {
	file, err := os.OpenFile(f.Path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, f.Mode)
	if err != nil {
		return err
	}
	_, err = file.Write(f.Text)
	if err = errors.Join(err, file.Close()); err != nil {
		_ = os.Remove(f.Path) // the error that matters is err
	}
	return err
}

// Replace gives the file its text at once: readers see the old or the new.
func (f File) Replace() error {
	staged, err := f.stage()
	if err != nil {
		return err
	}
	if err := os.Rename(staged, f.Path); err != nil {
		_ = os.Remove(staged) // the error that matters is err
		return fmt.Errorf("replace %s: %w", f.Path, err)
	}
	return nil
}

// stage writes the file under a name of its own beside its place.
func (f File) stage() (path string, err error) {
	if err := os.MkdirAll(filepath.Dir(f.Path), folderMode); err != nil {
		return "", fmt.Errorf("make the folder of %s: %w", f.Path, err)
	}
	file, err := os.CreateTemp(filepath.Dir(f.Path), "."+filepath.Base(f.Path)+".*")
	if err != nil {
		return "", fmt.Errorf("create %s: %w", f.Path, err)
	}
	_, err = file.Write(f.Text)
	if err == nil {
		err = file.Chmod(f.Mode)
	}
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		_ = os.Remove(file.Name()) // the error that matters is err
		return "", fmt.Errorf("write %s: %w", f.Path, err)
	}
	return file.Name(), nil
}
