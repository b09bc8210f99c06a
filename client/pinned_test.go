package client

import (
	"os"
	"path/filepath"
	"testing"

	"securechat/certs"
)

// A line that keeps its old certificate trusts the roots of the moment all the
// same, also where a revocation list is not of the root that it names: roots never
// wait for lists.
func TestPinnedTrustsTheRootsOfTheMoment(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	write := func(name string, text []byte, err error) {
		t.Helper()
		if err == nil {
			err = os.WriteFile(path(name), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	install := func(ca *certs.CA) {
		issued, err := ca.IssueUser("alice", certs.IssueOptions{})
		if err != nil {
			t.Fatal(err)
		}
		key, err := issued.KeyPEM()
		write("key", key, err)
		write("crt", issued.ChainPEM(), nil)
		write("roots", ca.CertificatePEM(), nil)
	}
	before, err := certs.NewCA(certs.CAOptions{})
	if err != nil {
		t.Fatal(err)
	}
	after, err := certs.NewCA(certs.CAOptions{}) // of the same name
	if err != nil {
		t.Fatal(err)
	}
	install(before)
	list, err := before.CRL()
	write("crl", list, err)
	source, err := certs.Files(certs.Paths{Certificate: path("crt"), Key: path("key"), Roots: path("roots"), CRL: path("crl")})
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	own := source.Material()
	line := newPinned(source, own)
	install(after)
	if err := source.Reload(); err != nil {
		t.Fatal(err)
	}
	now := line.Material()
	if !now.Roots()[0].Equal(after.Certificate()) {
		t.Error("the root that has left is still trusted")
	}
	if thumbprintOf(now) != thumbprintOf(own) {
		t.Error("the line has another certificate")
	}
}
