//go:build unix

package jetstream

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// shelter has the messages in a folder of ours, and a link to it where the server
// keeps its stream: a server that can't read a stream when it starts, for a bad
// sector or a full disk, deletes what is there. A log without any has its link once the
// server runs, which warns of a stream that it finds empty.
func shelter(messages, stream string) error {
	link, err := filepath.Rel(filepath.Dir(stream), messages)
	if err != nil {
		return err
	}
	info, err := os.Lstat(stream)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := exist(messages); err != nil {
			return err
		}
		if none(messages) {
			return nil
		}
		return place(link, stream)
	case err != nil:
		return err
	case info.IsDir():
		if err := move(stream, messages); err != nil {
			return err
		}
		return place(link, stream)
	}
	if to, err := os.Readlink(stream); err != nil || to != link {
		return fmt.Errorf("%s must be a link to %s: remove it, and see to it that the messages are there", stream, link)
	}
	if info, err := os.Lstat(messages); err != nil || !info.IsDir() {
		return fmt.Errorf("%s leads to %s, where no messages are: bring them back, or remove the link to begin without any", stream, messages)
	}
	return nil
}

// place makes the link. An earlier server of this process that has deleted it may yet
// delete the two folders above it, each once, while they are empty.
func place(link, stream string) (err error) {
	const attempts = 5
	for range attempts {
		if err = os.MkdirAll(filepath.Dir(stream), 0o700); err == nil {
			err = os.Symlink(link, stream)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return err
}

// move takes the messages out of a folder where they have no shelter.
func move(stream, messages string) error {
	if _, err := os.Lstat(messages); err == nil {
		return fmt.Errorf("messages are in %s and in %s, which ought to be a link to it: keep the one that is right", messages, stream)
	}
	return os.Rename(stream, messages)
}

func exist(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	if info, err := os.Lstat(dir); err != nil || !info.IsDir() {
		return fmt.Errorf("%s is not a folder: make it one", dir)
	}
	return nil
}

// none says whether a folder is known to hold nothing.
func none(dir string) bool {
	entries, err := os.ReadDir(dir)
	return err == nil && len(entries) == 0
}

// sheltered fails if the server has deleted the stream, and makes way for one where
// there are no messages yet.
func sheltered(messages, stream string) error {
	if _, err := os.Lstat(stream); err == nil {
		return nil
	}
	if !none(messages) {
		return errors.New("the server can't read the messages: its log says why")
	}
	link, err := filepath.Rel(filepath.Dir(stream), messages)
	if err != nil {
		return err
	}
	return place(link, stream)
}
