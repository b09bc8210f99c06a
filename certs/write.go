package certs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	folderMode fs.FileMode = 0o700
	secretMode fs.FileMode = 0o600
	publicMode fs.FileMode = 0o644
)

// A newFile is a file to be.
type newFile struct {
	path string
	text []byte
	mode fs.FileMode
}

// createFiles creates all of the files or none, overwrites nothing, and leaves
// nothing half-written: each is complete on disk before it gets its name.
func createFiles(files ...newFile) (err error) {
	for _, f := range files {
		if _, err := os.Lstat(f.path); err == nil {
			return existsError(f.path)
		}
	}
	var created []string
	defer func() {
		if err != nil {
			for _, path := range created {
				_ = os.Remove(path) // the error that matters is err
			}
		}
	}()
	for _, f := range files {
		staged, err := stage(f)
		if err != nil {
			return err
		}
		err = os.Link(staged, f.path)
		_ = os.Remove(staged) // a leftover is harmless: it is complete and has f's mode
		if err != nil && !errors.Is(err, fs.ErrExist) {
			err = createExclusive(f)
		}
		if errors.Is(err, fs.ErrExist) {
			return existsError(f.path)
		}
		if err != nil {
			return fmt.Errorf("create %s: %w", f.path, err)
		}
		created = append(created, f.path)
	}
	return syncFolders(files)
}

// createExclusive is for file systems without hard links.
func createExclusive(f newFile) error {
	file, err := os.OpenFile(f.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, f.mode)
	if err != nil {
		return err
	}
	_, err = file.Write(f.text)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		_ = os.Remove(f.path) // the error that matters is err
	}
	return err
}

func existsError(path string) error {
	return fmt.Errorf("%s exists and is not overwritten: move it away, or choose another path: %w", path, fs.ErrExist)
}

// replaceFile gives a file new contents at once: readers see the old or the new.
func replaceFile(path string, text []byte, mode fs.FileMode) error {
	f := newFile{path: path, text: text, mode: mode}
	staged, err := stage(f)
	if err != nil {
		return err
	}
	if err := os.Rename(staged, path); err != nil {
		_ = os.Remove(staged) // the error that matters is err
		return fmt.Errorf("replace %s: %w", path, err)
	}
	return syncFolders([]newFile{f})
}

// stage writes the file under a name of its own beside its place, and returns
// that name.
func stage(f newFile) (path string, err error) {
	file, err := os.CreateTemp(filepath.Dir(f.path), "."+filepath.Base(f.path)+".*")
	if err != nil {
		return "", fmt.Errorf("create %s: %w", f.path, err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(file.Name()) // the error that matters is err
			err = fmt.Errorf("write %s: %w", f.path, err)
		}
	}()
	_, err = file.Write(f.text)
	if err == nil {
		err = file.Chmod(f.mode)
	}
	if err == nil {
		err = file.Sync()
	}
	return file.Name(), errors.Join(err, file.Close())
}

// syncFolders makes new names outlast a crash, where the system can.
func syncFolders(files []newFile) error {
	for _, f := range files {
		folder, err := os.Open(filepath.Dir(f.path))
		if err != nil {
			return fmt.Errorf("open the folder of %s: %w", f.path, err)
		}
		_ = folder.Sync() // not every system syncs folders; the file itself is synced
		if err := folder.Close(); err != nil {
			return fmt.Errorf("close the folder of %s: %w", f.path, err)
		}
	}
	return nil
}
