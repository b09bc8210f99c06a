//go:build unix

package jetstream_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"securechat/server/room/jetstream"
)

func TestEmbeddedRefuses(t *testing.T) {
	folder := func(t *testing.T, mode os.FileMode) string {
		dir := t.TempDir() + "/log"
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, mode); err != nil { // which the umask does not change
			t.Fatal(err)
		}
		return dir
	}
	tests := []struct {
		name   string
		config func(t *testing.T) jetstream.EmbeddedConfig
		want   string // in the error
	}{
		{"a folder that others may list", func(t *testing.T) jetstream.EmbeddedConfig {
			return jetstream.EmbeddedConfig{Dir: folder(t, 0o750)}
		}, "chmod 700"},
		{"a folder that others may write to", func(t *testing.T) jetstream.EmbeddedConfig {
			return jetstream.EmbeddedConfig{Dir: folder(t, 0o702)}
		}, "chmod 700"},
		{"a file", func(t *testing.T) jetstream.EmbeddedConfig {
			path := t.TempDir() + "/file"
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			return jetstream.EmbeddedConfig{Dir: path}
		}, "name another"},
		{"a folder beneath a file", func(t *testing.T) jetstream.EmbeddedConfig {
			path := t.TempDir() + "/file"
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			return jetstream.EmbeddedConfig{Dir: path + "/log"}
		}, "name another"},
		{"a folder in use", func(t *testing.T) jetstream.EmbeddedConfig {
			config := jetstream.EmbeddedConfig{Dir: folder(t, 0o700)}
			holder := openEmbedded(t, config)
			t.Cleanup(func() { holder.Close() })
			return config
		}, "another process has the log open"},
		{"negative limits", func(t *testing.T) jetstream.EmbeddedConfig {
			return jetstream.EmbeddedConfig{Dir: folder(t, 0o700), Keep: jetstream.Retention{MaxPerRoom: -1}}
		}, "negative"},
		{"messages that hardly live", func(t *testing.T) jetstream.EmbeddedConfig {
			return jetstream.EmbeddedConfig{Dir: folder(t, 0o700), Keep: jetstream.Retention{MaxAge: time.Millisecond}}
		}, "for a second at least"},
		{"a negative interval", func(t *testing.T) jetstream.EmbeddedConfig {
			return jetstream.EmbeddedConfig{Dir: folder(t, 0o700), SyncInterval: -1}
		}, "negative"},
	}
	for _, test := range tests {
		t.Run(strings.ReplaceAll(test.name, " ", "_"), func(t *testing.T) {
			config := test.config(t)
			log, err := jetstream.Embedded(config)
			if err == nil {
				log.Close()
				t.Fatal("it was opened")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error is %q, want one that has %q", err, test.want)
			}
		})
	}
}

// What is refused leaves the lock to the next, and so does Close.
func TestEmbeddedGivesTheFolderBack(t *testing.T) {
	config := jetstream.EmbeddedConfig{Dir: t.TempDir() + "/log"}
	for range 2 {
		if err := openEmbedded(t, config).Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// What is behind a link to the folder is written through like what is in a folder: a
// file for which that can't be done has the log refused either way.
func TestALinkToTheFolderIsFollowed(t *testing.T) {
	dir, link := t.TempDir()+"/log", t.TempDir()+"/link"
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if err := openEmbedded(t, jetstream.EmbeddedConfig{Dir: dir}).Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", dir+"/messages/msgs/x.blk"); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{dir, link} {
		if log, err := jetstream.Embedded(jetstream.EmbeddedConfig{Dir: dir}); err == nil {
			log.Close()
			t.Errorf("%s was opened", dir)
		}
	}
}

// What else is in the folder, such as the lost+found of a disk of its own, which is
// root's, is left alone.
func TestOnlyTheLogsOwnFilesAreRead(t *testing.T) {
	dir := t.TempDir() + "/log"
	if err := os.MkdirAll(dir+"/lost+found", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", dir+"/lost+found/x.blk"); err != nil { // which can't be read
		t.Fatal(err)
	}
	if err := openEmbedded(t, jetstream.EmbeddedConfig{Dir: dir}).Close(); err != nil {
		t.Fatal(err)
	}
}
