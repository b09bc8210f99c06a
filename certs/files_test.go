package certs

import (
	"bytes"
	"crypto/x509"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestFilesRefuses(t *testing.T) {
	for _, test := range []struct {
		name  string
		spoil func(*desk)
		words []string // besides the file's name
		file  func(Paths) string
	}{
		{"no roots named", func(d *desk) { d.paths.Roots = "" }, []string{"no file of trusted roots"}, nil},
		{"certificate without key", func(d *desk) { d.paths.Key = "" }, []string{"name the key's file"}, func(p Paths) string { return p.Certificate }},
		{"key without certificate", func(d *desk) { d.paths.Certificate = "" }, []string{"name the certificate's file"}, func(p Paths) string { return p.Key }},
		{"missing", func(d *desk) { os.Remove(d.paths.Certificate) }, []string{"does not exist"}, func(p Paths) string { return p.Certificate }},
		{"a folder", func(d *desk) { d.paths.Roots = filepath.Dir(d.paths.Roots) }, []string{"not a regular file"}, func(p Paths) string { return p.Roots }},
		{"key for the group", func(d *desk) { os.Chmod(d.paths.Key, 0o640) }, []string{"0640", "chmod 600"}, func(p Paths) string { return p.Key }},
		{"key for all", func(d *desk) { os.Chmod(d.paths.Key, 0o604) }, []string{"0604", "chmod 600"}, func(p Paths) string { return p.Key }},
		{"mismatched pair", func(d *desk) { d.write(d.paths.Key, must(d.issue().KeyPEM())(d.t)) }, []string{"is not that of the first certificate"}, func(p Paths) string { return p.Key }},
		{"key cut off", func(d *desk) { d.cut(d.paths.Key) }, []string{"damaged or cut off"}, func(p Paths) string { return p.Key }},
		{"certificate cut off", func(d *desk) { d.cut(d.paths.Certificate) }, []string{"damaged or cut off"}, func(p Paths) string { return p.Certificate }},
		{"roots empty", func(d *desk) { d.write(d.paths.Roots, nil) }, []string{"no certificate"}, func(p Paths) string { return p.Roots }},
		{"a root that is a leaf", func(d *desk) { d.write(d.paths.Roots, d.issue().ChainPEM()) }, []string{"not an authority's"}, func(p Paths) string { return p.Roots }},
		{"key among the roots", func(d *desk) { d.write(d.paths.Roots, must(d.issue().KeyPEM())(d.t)) }, []string{`"PRIVATE KEY"`}, func(p Paths) string { return p.Roots }},
		{"list empty", func(d *desk) { d.write(d.paths.CRL, nil) }, []string{"no revocation list"}, func(p Paths) string { return p.CRL }},
		// It has the root's name, but is not signed by its key.
		{"list forged", func(d *desk) { d.write(d.paths.CRL, must(newTestCA(d.t, CAOptions{}).CRL())(d.t)) }, []string{"not signed by that authority"}, func(p Paths) string { return p.CRL }},
		{"revocations malformed", func(d *desk) { d.write(d.paths.Revocations, []byte("# fine\nfoo bar\n")) }, []string{"line 2"}, func(p Paths) string { return p.Revocations }},
		{"too large", func(d *desk) { d.write(d.paths.Revocations, bytes.Repeat([]byte("#\n"), maxFile)) }, []string{"larger than 1024 KiB"}, func(p Paths) string { return p.Revocations }},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := newDesk(t)
			d.Close()
			test.spoil(d)
			source, err := Files(d.paths)
			if err == nil {
				source.Close()
				t.Fatal("was taken")
			}
			for _, word := range test.words {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%q does not say %q", err, word)
				}
			}
			if test.file != nil && !strings.Contains(err.Error(), test.file(d.paths)) {
				t.Errorf("%q does not name the file", err)
			}
		})
	}
}

// cut leaves the first half of a file. It comes at once: a file that is written in
// its place is empty first, which would be another broken one for who looks then.
func (d *desk) cut(path string) {
	d.t.Helper()
	text := must(os.ReadFile(path))(d.t)
	d.rename(path, text[:len(text)/2])
}

func TestFilesKeepsTheLastGoodSet(t *testing.T) {
	d := newDesk(t)
	good := d.Material()
	changed := d.Changed()
	text := must(os.ReadFile(d.paths.Roots))(t)

	d.cut(d.paths.Roots)
	d.untilFailures(1)
	if err := d.Reload(); err == nil {
		t.Error("Reload took a broken file")
	}
	if d.Material() != good || d.failures() != 1 {
		t.Errorf("a broken file replaced a good one, or was counted twice: %d", d.failures())
	}
	select {
	case <-changed:
		t.Error("a broken file was told of as a change")
	default:
	}
	// Broken, put right, and broken in the same way is two failures.
	d.rename(d.paths.Roots, text)
	if err := d.Reload(); err != nil {
		t.Fatal(err)
	}
	d.cut(d.paths.Roots)
	d.untilFailures(2)
	if strings.Contains(d.log.String(), string(text[40:60])) { // past the first line
		t.Error("the log has contents of files")
	}
}

func TestFilesFollowsChanges(t *testing.T) {
	t.Run("in place", func(t *testing.T) {
		d := newDesk(t)
		pair := d.issue()
		d.write(d.paths.Key, must(pair.KeyPEM())(t))
		d.write(d.paths.Certificate, pair.ChainPEM())
		d.until("the new pair", d.serves(pair))
	})
	t.Run("renamed", func(t *testing.T) {
		d := newDesk(t)
		other := newTestCA(t, CAOptions{Name: "Other"})
		d.rename(d.paths.Roots, append(d.ca.CertificatePEM(), other.CertificatePEM()...))
		d.until("the new root", func(m *Material) bool { return len(m.Roots()) == 2 })
	})
	t.Run("list", func(t *testing.T) {
		d := newDesk(t)
		pair := d.issue()
		if err := d.ca.Revoke(pair.Certificate(), Superseded); err != nil {
			t.Fatal(err)
		}
		d.rename(d.paths.CRL, must(d.ca.CRL())(t))
		d.until("the new list", func(m *Material) bool { return m.Revocations().Certificate(pair.Certificate(), d.ca.Certificate()) })
	})
	t.Run("revocations", func(t *testing.T) {
		d := newDesk(t)
		d.write(d.paths.Revocations, []byte("jti 42\n"))
		d.until("the new line", func(m *Material) bool { return m.Revocations().Token("42") })
	})
	t.Run("removed and back", func(t *testing.T) {
		d := newDesk(t)
		if err := os.Remove(d.paths.Certificate); err != nil {
			t.Fatal(err)
		}
		d.untilFailures(1)
		pair := d.issue()
		d.write(d.paths.Key, must(pair.KeyPEM())(t))
		d.write(d.paths.Certificate, pair.ChainPEM())
		d.until("the new pair", d.serves(pair))
	})
}

// A set behind one link, as Kubernetes mounts secrets, changes as a whole.
func TestFilesFollowsALink(t *testing.T) {
	d := newDesk(t)
	d.Close()
	dir := t.TempDir()
	set := func(name string, pair *Issued) {
		if err := pair.WriteFiles(filepath.Join(dir, name, "tls.crt"), filepath.Join(dir, name, "tls.key")); err != nil {
			t.Fatal(err)
		}
	}
	link := func(to string) {
		if err := os.Symlink(to, filepath.Join(dir, "next")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "next"), filepath.Join(dir, "data")); err != nil {
			t.Fatal(err)
		}
	}
	first, second := d.issue(), d.issue()
	set("1", first)
	set("2", second)
	link("1")
	d.paths.Certificate, d.paths.Key = filepath.Join(dir, "data", "tls.crt"), filepath.Join(dir, "data", "tls.key")
	d.FileSource = must(Files(d.paths, WithInterval(testInterval), WithLogger(slog.New(slog.NewTextHandler(d.log, nil)))))(t)
	d.until("the first pair", d.serves(first))
	link("2")
	d.until("the second pair", d.serves(second))
	if d.failures() != 0 {
		t.Errorf("%d failures:\n%s", d.failures(), d.log)
	}
}

// A mismatch is a broken replacement, whichever half comes first.
func TestFilesWaitsForTheOtherHalf(t *testing.T) {
	d := newDesk(t)
	good := d.Material()
	pair := d.issue()
	d.rename(d.paths.Certificate, pair.ChainPEM())
	d.untilFailures(1)
	if d.Material() != good {
		t.Fatal("a certificate without its key was taken")
	}
	d.rename(d.paths.Key, must(pair.KeyPEM())(t))
	d.until("the pair", d.serves(pair))
}

func TestStaleListsServeOnLoudlyOrRefuse(t *testing.T) {
	for _, strict := range []bool{false, true} {
		var options []FileOption
		if strict {
			options = append(options, WithStrictCRLs())
		}
		d := newDesk(t, options...)
		leaf := d.issue().Certificate()
		chain := [][]*x509.Certificate{{leaf, d.ca.Certificate()}}
		later := time.Now().Add(crlLifetime - time.Hour)
		if !later.Before(leaf.NotAfter) {
			t.Fatal("the certificate ends before its authority's list")
		}
		if err := d.Material().Check(chain, later); err != nil {
			t.Errorf("strict %v, list in time: %v", strict, err)
		}
		// The list and the leaf both last a year: look at the list alone.
		_, revoked := d.Material().Revocations().revoked(leaf, d.ca.Certificate(), later.Add(2*time.Hour))
		if revoked != strict {
			t.Errorf("strict %v, list late: revoked %v", strict, revoked)
		}
		d.warn(d.Material(), later.Add(2*time.Hour))
		if !strings.Contains(d.log.String(), "past its next update") || !strings.Contains(d.log.String(), "own certificate ends soon") {
			t.Errorf("the log has no warning:\n%s", d.log)
		}
	}
}

// A file that is cut off between two certificates looks whole. It is left alone
// until it has been read the same twice.
func TestFilesAwaitsThatASetSettles(t *testing.T) {
	d := newDesk(t)
	other := newTestCA(t, CAOptions{Name: "Other"}).CertificatePEM()
	both := append(d.ca.CertificatePEM(), other...)
	d.Close() // from here on, the test looks by itself

	d.write(d.paths.Roots, other)
	d.load(false)
	if len(d.Material().Roots()) != 1 || d.Loads() != 1 {
		t.Error("half a file was taken")
	}
	d.write(d.paths.Roots, both)
	d.load(false)
	if d.Loads() != 1 {
		t.Error("a file was taken at first sight")
	}
	d.load(false)
	if len(d.Material().Roots()) != 2 || d.Loads() != 2 {
		t.Errorf("%d roots after %d loads", len(d.Material().Roots()), d.Loads())
	}
}
