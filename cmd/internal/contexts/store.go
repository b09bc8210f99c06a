package contexts

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/adrg/xdg"
)

const (
	extension   = ".yaml"
	currentFile = "current"
	maxFile     = 64 << 10 // bytes
)

// ErrNotFound is in the error for a context that does not exist.
var ErrNotFound = errors.New("there is no such context")

// A Store is a folder of contexts. Files are written whole or not at all.
type Store struct{ folder string }

// User returns the store of the user who runs the program, as the environment
// says now. Nothing is created before Save.
func User() Store {
	home := os.Getenv("XDG_CONFIG_HOME")
	if !filepath.IsAbs(home) { // as the XDG Base Directory Specification asks
		home = xdg.ConfigHome
	}
	return Store{folder: filepath.Join(home, "securechat", "contexts")}
}

// In returns the store in a folder.
func In(folder string) Store { return Store{folder: folder} }

// Folder is where the contexts are.
func (s Store) Folder() string { return s.folder }

// Load reads the context of that name. The error is ErrNotFound where there is
// none, and otherwise says what is wrong with which file.
func (s Store) Load(name string) (Context, error) {
	if err := CheckName(name); err != nil {
		return Context{}, err
	}
	text, err := s.read(name + extension)
	if errors.Is(err, fs.ErrNotExist) {
		return Context{}, fmt.Errorf("context %q: %w: `chat context list` shows those in %s", name, ErrNotFound, s.folder)
	}
	if err != nil {
		return Context{}, err
	}
	c, err := parse(text)
	if err != nil {
		return Context{}, fmt.Errorf("context file %s %w", s.path(name+extension), err)
	}
	return c, nil
}

// Save writes a context. Where there is one of that name already, it is
// replaced only if overwrite is set, or if both are managed by the same program.
func (s Store) Save(name string, c Context, overwrite bool) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if err := c.check(); err != nil {
		return fmt.Errorf("context %q %w", name, err)
	}
	if !overwrite {
		if err := s.mayReplace(name, c); err != nil {
			return err
		}
	}
	text, err := c.marshal()
	if err != nil {
		return fmt.Errorf("context %q: %w", name, err)
	}
	return s.write(name+extension, text)
}

func (s Store) mayReplace(name string, c Context) error {
	old, err := s.Load(name)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil
	case err == nil && c.ManagedBy != "" && old.ManagedBy == c.ManagedBy:
		return nil
	default:
		return fmt.Errorf("the context %q exists already and is kept: remove it with `chat context remove %s` first, or choose another name", name, name)
	}
}

// Remove removes a context. Where it was the current one, none is current after.
func (s Store) Remove(name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	current, err := s.Current()
	if err != nil {
		return err
	}
	err = os.Remove(s.path(name + extension))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("context %q: %w", name, ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("remove the context %q: %w", name, err)
	}
	if current != name {
		return nil
	}
	if err := os.Remove(s.path(currentFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("unset the current context: %w", err)
	}
	return nil
}

// List returns the names of all contexts, sorted.
func (s Store) List() ([]string, error) {
	entries, err := os.ReadDir(s.folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list the contexts: %w", err)
	}
	var names []string
	for _, entry := range entries {
		name, ok := strings.CutSuffix(entry.Name(), extension)
		if ok && !entry.IsDir() && CheckName(name) == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// Current returns the name of the current context; empty where there is none.
func (s Store) Current() (string, error) {
	text, err := s.read(currentFile)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	name := strings.TrimSpace(string(text))
	if err := CheckName(name); err != nil {
		return "", fmt.Errorf("file %s: %w, or remove the file", s.path(currentFile), err)
	}
	return name, nil
}

// SetCurrent makes an existing context the current one.
func (s Store) SetCurrent(name string) error {
	if _, err := s.Load(name); err != nil {
		return err
	}
	return s.write(currentFile, []byte(name+"\n"))
}

func (s Store) path(file string) string { return filepath.Join(s.folder, file) }

func (s Store) read(file string) ([]byte, error) {
	f, err := os.Open(s.path(file))
	if err != nil {
		return nil, fmt.Errorf("read the contexts: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read the contexts: %w", err)
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("context file %s is larger than %d KiB, which is more than a context has", s.path(file), maxFile>>10)
	}
	return text, nil
}

// write puts the file into place by a rename, so that it is never seen half
// written. CreateTemp makes it 0600.
func (s Store) write(file string, text []byte) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write the context file %s: %w", s.path(file), err)
		}
	}()
	if err := os.MkdirAll(s.folder, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(s.folder, ".new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), s.path(file))
}
