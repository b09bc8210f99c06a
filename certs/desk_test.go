package certs

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// A desk is a folder with a set of files and a Source that follows them.
type desk struct {
	t     *testing.T
	ca    *CA
	paths Paths
	log   *safeBuffer
	*FileSource
}

const testInterval = 5 * time.Millisecond

func newDesk(t *testing.T, options ...FileOption) *desk {
	t.Helper()
	dir := t.TempDir()
	d := &desk{t: t, ca: must(InitCA(filepath.Join(dir, "ca"), CAOptions{}))(t), log: &safeBuffer{}}
	d.paths = Paths{
		Certificate: filepath.Join(dir, "tls.crt"),
		Key:         filepath.Join(dir, "tls.key"),
		Roots:       filepath.Join(dir, "roots.pem"),
		CRL:         filepath.Join(dir, "crl.pem"),
		Revocations: filepath.Join(dir, "revocations"),
	}
	d.write(d.paths.Roots, d.ca.CertificatePEM())
	d.write(d.paths.CRL, must(d.ca.CRL())(t))
	d.write(d.paths.Revocations, []byte("# none\n"))
	pair := d.issue()
	d.write(d.paths.Certificate, pair.ChainPEM())
	d.write(d.paths.Key, must(pair.KeyPEM())(t))
	options = append([]FileOption{WithInterval(testInterval), WithLogger(slog.New(slog.NewTextHandler(d.log, nil)))}, options...)
	d.FileSource = must(Files(d.paths, options...))(t)
	t.Cleanup(func() { d.Close() })
	return d
}

func (d *desk) issue() *Issued {
	d.t.Helper()
	return must(d.ca.IssueServer([]string{"localhost"}, IssueOptions{}))(d.t)
}

// write writes in place, as a careless program would.
func (d *desk) write(path string, text []byte) {
	d.t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) rename(path string, text []byte) {
	d.t.Helper()
	d.write(path+".new", text)
	if err := os.Rename(path+".new", path); err != nil {
		d.t.Fatal(err)
	}
}

// until waits, from change to change, until the material is as wanted.
func (d *desk) until(what string, wanted func(*Material) bool) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for {
		changed := d.Changed()
		if wanted(d.Material()) {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			d.t.Fatalf("%s: not seen; the log has:\n%s", what, d.log)
		}
	}
}

// untilFailures waits until so many broken sets were found.
func (d *desk) untilFailures(n uint64) {
	d.t.Helper()
	d.log.until(d.t, func(text string) bool { return uint64(strings.Count(text, "not replaced")) >= n })
	if got := d.failures(); got != n {
		d.t.Fatalf("%d failures, want %d; the log has:\n%s", got, n, d.log)
	}
}

func (d *desk) failures() (n uint64) {
	for _, feed := range d.Feeds() {
		n += feed.Broken
	}
	return n
}

func (d *desk) serves(pair *Issued) func(*Material) bool {
	return func(m *Material) bool {
		return bytes.Equal(m.Certificate().Certificate[0], pair.Certificate().Raw)
	}
}

// A safeBuffer is a log that a test waits on.
type safeBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
	grown  chan struct{}
}

func (b *safeBuffer) Write(text []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.grown != nil {
		close(b.grown)
		b.grown = nil
	}
	return b.buffer.Write(text)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

func (b *safeBuffer) until(t *testing.T, wanted func(string) bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		b.mu.Lock()
		if b.grown == nil {
			b.grown = make(chan struct{})
		}
		grown, text := b.grown, b.buffer.String()
		b.mu.Unlock()
		if wanted(text) {
			return
		}
		select {
		case <-grown:
		case <-deadline:
			t.Fatalf("the log has only:\n%s", text)
		}
	}
}
