package certs

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var errBroken = errors.New("says nothing")

// followed follows a file that is good unless it is empty or says "half".
func followed(t *testing.T, way string, first string) (m *mount, f *Following, taken *[]string, log *safeBuffer, err error) {
	t.Helper()
	m = &mount{t: t, dir: t.TempDir(), files: replacement{}, version: "..v"}
	waysToReplace[way](m, replacement{"file": []byte(first)})
	taken, log = &[]string{}, &safeBuffer{}
	f, err = Follow(File{
		Name: "rules", Path: m.path("file"), Lines: true, Logger: slog.New(slog.NewTextHandler(log, nil)),
		Take: func(text []byte) error {
			if text = bytes.TrimSpace(text); len(text) == 0 || string(text) == "half" {
				return errBroken
			}
			*taken = append(*taken, string(text))
			return nil
		},
	})
	return m, f, taken, log, err
}

func TestFollowRefusesABrokenFirstFile(t *testing.T) {
	if m, _, _, _, err := followed(t, "in place", "half"); !errors.Is(err, errBroken) || !strings.Contains(err.Error(), m.path("file")) {
		t.Errorf("got %v, want what is wrong with the file", err)
	}
	if _, err := Follow(File{Name: "rules", Path: filepath.Join(t.TempDir(), "none"), Take: func([]byte) error { return nil }}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want that the file does not exist", err)
	}
}

func TestFollow(t *testing.T) {
	for way, replace := range waysToReplace {
		t.Run(way, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, f, taken, log, err := followed(t, way, "one")
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				replace(m, replacement{"file": []byte("half")})
				<-time.After(3 * time.Second)
				if state := f.State(); len(*taken) != 1 || state.Good != 1 || state.Broken != 1 || strings.Count(log.String(), "rules not replaced") != 1 {
					t.Errorf("half a file: taken %q, %+v, log\n%s", *taken, state, log)
				}
				if err := f.Reload(); !errors.Is(err, errBroken) {
					t.Errorf("Reload: %v, want what is wrong", err)
				}
				// The same as before is no change; asked for by hand it counts.
				replace(m, replacement{"file": []byte("one")})
				<-time.After(3 * time.Second)
				if err := f.Reload(); err != nil {
					t.Error(err)
				}
				if state := f.State(); len(*taken) != 1 || state.Good != 2 || state.Broken != 1 {
					t.Errorf("the same again: taken %q, %+v", *taken, state)
				}
				// Broken in the same way again is another change.
				replace(m, replacement{"file": []byte("half")})
				<-time.After(3 * time.Second)
				if state := f.State(); state.Broken != 2 || strings.Count(log.String(), "not replaced") != 2 {
					t.Errorf("broken again: %+v, log\n%s", state, log)
				}
				replace(m, replacement{"file": []byte("two")})
				<-time.After(time.Second)
				if len(*taken) != 2 || (*taken)[1] != "two" {
					t.Errorf("a second after the change, taken are %q", *taken)
				}
				replace(m, replacement{"file": []byte("half")})
				<-time.After(3 * time.Second)
				if state := f.State(); state.Broken != 3 {
					t.Errorf("broken after a good one: %+v", state)
				}
			})
		})
	}
}

// A file of lines that is cut between two looks whole: it is left to settle.
func TestFollowAwaitsThatAFileSettles(t *testing.T) {
	m, f, taken, _, err := followed(t, "in place", "one")
	if err != nil {
		t.Fatal(err)
	}
	f.Close() // from here on, the test looks by itself
	for _, text := range []string{"two", "two\nthree"} {
		waysToReplace["in place"](m, replacement{"file": []byte(text)})
		if err := f.load(false); err != nil || len(*taken) != 1 {
			t.Fatalf("at first sight of %q, taken are %q, %v", text, *taken, err)
		}
	}
	if err := f.load(false); err != nil || len(*taken) != 2 || (*taken)[1] != "two\nthree" {
		t.Errorf("taken are %q, %v", *taken, err)
	}
}
