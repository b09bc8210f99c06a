package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"errors"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestCARefuses(t *testing.T) {
	ca := newTestCA(t, CAOptions{NotAfter: time.Now().Add(time.Hour)})
	deep := must(newTestCA(t, CAOptions{Depth: 1}).IssueCA(CAOptions{}))(t)
	over := newTestCA(t, CAOptions{Clock: func() time.Time { return time.Now().Add(-30 * time.Hour) }, Lifetime: time.Hour})
	over.clock = time.Now
	issue := func(do func() (*Issued, error)) func() error {
		return func() error { _, err := do(); return err }
	}
	for _, test := range []struct {
		name  string
		do    func() error
		words string
	}{
		{"no hosts", issue(func() (*Issued, error) { return ca.IssueServer(nil, IssueOptions{}) }), "at least one host"},
		{"a URL for a host", issue(func() (*Issued, error) { return ca.IssueServer([]string{"https://x"}, IssueOptions{}) }), "neither a DNS name nor an IP"},
		{"a host with its port", issue(func() (*Issued, error) { return ca.IssueServer([]string{"x:1"}, IssueOptions{}) }), "neither a DNS name nor an IP"},
		{"an inner wildcard", issue(func() (*Issued, error) { return ca.IssueServer([]string{"a.*.b"}, IssueOptions{}) }), "neither a DNS name nor an IP"},
		{"no name", issue(func() (*Issued, error) { return ca.IssueUser("", IssueOptions{}) }), "empty"},
		{"a path for a name", issue(func() (*Issued, error) { return ca.IssueUser("a/b", IssueOptions{}) }), "only letters"},
		{"dots for a name", issue(func() (*Issued, error) { return ca.IssueUser("..", IssueOptions{}) }), "relative path"},
		{"a lifetime below zero", issue(func() (*Issued, error) { return ca.IssueUser("a", IssueOptions{Lifetime: -1}) }), "negative"},
		{"an end before the beginning", issue(func() (*Issued, error) {
			return ca.IssueUser("a", IssueOptions{NotBefore: time.Now(), NotAfter: time.Now().Add(-time.Hour)})
		}), "before it begins"},
		{"the authority has ended", issue(func() (*Issued, error) { return over.IssueUser("a", IssueOptions{}) }), "new authority"},
		{"a capital trust domain", func() error { _, err := NewCA(CAOptions{TrustDomain: "Example"}); return err }, "lower-case"},
		{"a depth below zero", func() error { _, err := NewCA(CAOptions{Depth: -1}); return err }, "negative"},
		{"revoke another's", func() error { return ca.Revoke(issueUser(t, deep, nil).Certificate(), Unspecified) }, "not issued by this authority"},
		{"revoke for no reason that there is", func() error { return ca.RevokeSerial(big.NewInt(1), 7) }, "not a reason"},
		{"no record in memory", func() error { _, err := ca.Issued(); return err }, "in memory"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := test.do(); err == nil || !strings.Contains(err.Error(), test.words) {
				t.Errorf("%v, want %q", err, test.words)
			}
		})
	}
}

func TestCertificateProfiles(t *testing.T) {
	ca := newTestCA(t, CAOptions{TrustDomain: "example.org"})
	root := ca.Certificate()
	user := must(ca.IssueUser("alice", IssueOptions{}))(t).Certificate()
	server := must(ca.IssueServer([]string{"Chat.Example.org", "*.example.org", "127.0.0.1", "::1"}, IssueOptions{}))(t).Certificate()

	if !root.IsCA || !root.BasicConstraintsValid || root.MaxPathLen != 0 || !root.MaxPathLenZero ||
		root.KeyUsage != x509.KeyUsageCertSign|x509.KeyUsageCRLSign || len(root.SubjectKeyId) == 0 {
		t.Errorf("the root is %+v", root)
	}
	for _, c := range []*x509.Certificate{user, server} {
		if c.IsCA || !c.BasicConstraintsValid || c.KeyUsage != x509.KeyUsageDigitalSignature || !bytes.Equal(c.AuthorityKeyId, root.SubjectKeyId) {
			t.Errorf("the leaf is %+v", c)
		}
	}
	for _, c := range []*x509.Certificate{root, user, server} {
		key, ok := c.PublicKey.(*ecdsa.PublicKey)
		if !ok || key.Curve != elliptic.P256() {
			t.Errorf("the key of %v is %T", c.Subject, c.PublicKey)
		}
		// 128 random bits have fewer than 65 in one of 2^63 cases.
		if c.SerialNumber.Sign() <= 0 || c.SerialNumber.BitLen() <= 64 || c.SerialNumber.BitLen() > 128 {
			t.Errorf("the serial number of %v is %v", c.Subject, c.SerialNumber)
		}
	}
	if !slices.Equal(user.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}) || !slices.Equal(server.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}) {
		t.Errorf("usages: user %v, server %v", user.ExtKeyUsage, server.ExtKeyUsage)
	}
	if name, err := Identify(user, URI, "example.org"); err != nil || name.Value != "spiffe://example.org/user/alice" {
		t.Errorf("the user is %v, %v", name, err)
	}
	for _, host := range []string{"chat.example.org", "x.example.org", "127.0.0.1", "::1"} {
		if err := server.VerifyHostname(host); err != nil {
			t.Error(err)
		}
	}
	short := newTestCA(t, CAOptions{NotAfter: time.Now().Add(time.Hour)})
	if c := must(short.IssueUser("alice", IssueOptions{}))(t).Certificate(); c.NotAfter.After(short.Certificate().NotAfter) {
		t.Error("a certificate outlives its authority")
	}
}

func TestRevocationListRises(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	ca := must(InitCA(dir, CAOptions{}))(t)
	numbers := func() int64 { return listOf(t, ca)[0].Number.Int64() }
	first := numbers()
	alice, bob := issueUser(t, ca, nil).Certificate(), issueUser(t, ca, nil).Certificate()

	if err := ca.RevokeSerial(big.NewInt(99), Unspecified); err == nil || !strings.Contains(err.Error(), "no certificate of that serial number") {
		t.Errorf("a serial number that was never issued: %v", err)
	}
	if err := ca.Revoke(alice, KeyCompromise); err != nil || numbers() != first+1 {
		t.Errorf("number %d after %d: %v", numbers(), first, err)
	}
	if err := ca.Revoke(alice, Superseded); err != nil || numbers() != first+1 {
		t.Errorf("revoked twice: number %d after %d: %v", numbers(), first, err)
	}
	// Another program at the same folder sees and keeps what this one did.
	again := must(OpenCA(dir))(t)
	if err := again.RevokeSerial(bob.SerialNumber, Unspecified); err != nil {
		t.Fatal(err)
	}
	if err := ca.RenewCRL(); err != nil {
		t.Fatal(err)
	}
	list := must(LoadCRLs(filepath.Join(dir, crlFile)))(t)[0]
	if list.Number.Int64() != first+3 || len(list.RevokedCertificateEntries) != 2 || list.RevokedCertificateEntries[0].ReasonCode != int(KeyCompromise) {
		t.Errorf("number %v, %d entries", list.Number, len(list.RevokedCertificateEntries))
	}
	if err := list.CheckSignatureFrom(ca.Certificate()); err != nil {
		t.Error(err)
	}
}

func TestManyRevokeAtOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	ca := must(InitCA(dir, CAOptions{}))(t)
	const many = 4
	var all sync.WaitGroup
	for range many {
		leaf := issueUser(t, ca, nil).Certificate()
		own := must(OpenCA(dir))(t) // its own lock, as another process has
		all.Go(func() {
			if err := own.Revoke(leaf, Unspecified); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got := len(listOf(t, ca)[0].RevokedCertificateEntries); got != many {
		t.Errorf("%d of %d are on the list", got, many)
	}
}

func TestFolderOfACA(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "ca")
	ca := must(InitCA(dir, CAOptions{TrustDomain: "example.org"}))(t)
	for path, want := range map[string]fs.FileMode{
		dir:                      fs.ModeDir | 0o700,
		ca.path(keyFile):         0o600,
		ca.path(certificateFile): 0o644,
		ca.path(crlFile):         0o644,
		ca.path(issuedFolder):    fs.ModeDir | 0o700,
	} {
		if info := must(os.Stat(path))(t); info.Mode() != want {
			t.Errorf("%s has mode %v, want %v", path, info.Mode(), want)
		}
	}
	again := must(OpenCA(dir))(t)
	if again.TrustDomain() != "example.org" || !again.Certificate().Equal(ca.Certificate()) {
		t.Error("another authority was opened")
	}
	alice := must(again.IssueUser("alice", IssueOptions{}))(t)
	if _, err := alice.Certificate().Verify(x509.VerifyOptions{Roots: must(alice.Material(ca.Certificate()))(t).Pool(), KeyUsages: alice.Certificate().ExtKeyUsage}); err != nil {
		t.Error(err)
	}
	if issued := must(ca.Issued())(t); len(issued) != 1 || !issued[0].Equal(alice.Certificate()) {
		t.Errorf("the record has %d certificates", len(issued))
	}
}

func TestInitCAOverwritesNothing(t *testing.T) {
	for _, name := range []string{certificateFile, keyFile, crlFile} {
		dir := t.TempDir()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := InitCA(dir, CAOptions{}); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
		wantFiles(t, dir, name, issuedFolder)
		if text := must(os.ReadFile(path))(t); string(text) != "precious" {
			t.Errorf("%s was overwritten", name)
		}
	}
}

// wantFiles says that a folder has these entries and nothing half-written.
func wantFiles(t *testing.T, dir string, names ...string) {
	t.Helper()
	var got []string
	for _, entry := range must(os.ReadDir(dir))(t) {
		got = append(got, entry.Name())
	}
	slices.Sort(names)
	if !slices.Equal(got, names) {
		t.Errorf("the folder has %q, want %q", got, names)
	}
}

func TestOpenCARefuses(t *testing.T) {
	other := newTestCA(t, CAOptions{})
	for _, test := range []struct {
		name  string
		spoil func(t *testing.T, ca *CA)
		words string
	}{
		{"nothing there", func(t *testing.T, ca *CA) { os.Remove(ca.path(certificateFile)) }, "does not exist"},
		{"a key that others may read", func(t *testing.T, ca *CA) { os.Chmod(ca.path(keyFile), 0o644) }, "chmod 600"},
		{"another's key", func(t *testing.T, ca *CA) {
			os.WriteFile(ca.path(keyFile), must(keyPEM(other.key))(t), 0o600)
		}, "is not the key of"},
		{"a leaf", func(t *testing.T, ca *CA) {
			os.WriteFile(ca.path(certificateFile), issueUser(t, other, nil).ChainPEM(), 0o600)
		}, "not an authority's"},
		{"another's list", func(t *testing.T, ca *CA) { os.WriteFile(ca.path(crlFile), other.crl, 0o600) }, "not this authority's own list"},
		{"no list", func(t *testing.T, ca *CA) { os.Remove(ca.path(crlFile)) }, "does not exist"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			test.spoil(t, must(InitCA(dir, CAOptions{}))(t))
			if _, err := OpenCA(dir); err == nil || !strings.Contains(err.Error(), test.words) || !strings.Contains(err.Error(), dir) {
				t.Errorf("%v, want %q", err, test.words)
			}
		})
	}
}

// If the list cannot be kept, nothing is revoked, and a later try is whole.
func TestRevokeFailsWhole(t *testing.T) {
	dir := t.TempDir()
	ca := must(InitCA(dir, CAOptions{}))(t)
	leaf := issueUser(t, ca, nil).Certificate()
	before := must(os.ReadFile(ca.path(crlFile)))(t)
	if err := os.WriteFile(ca.path(crlFile), []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := ca.Revoke(leaf, Unspecified); err == nil {
		t.Fatal("a garbled list was replaced, and with it what it revoked")
	}
	if err := os.WriteFile(ca.path(crlFile), before, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := ca.Revoke(leaf, Unspecified); err != nil || len(listOf(t, ca)[0].RevokedCertificateEntries) != 1 {
		t.Errorf("after the list was restored: %v", err)
	}
}

func TestWriteFiles(t *testing.T) {
	ca := newTestCA(t, CAOptions{Depth: 1})
	alice := issueUser(t, must(ca.IssueCA(CAOptions{Name: "Intermediate"}))(t), nil)
	dir := filepath.Join(t.TempDir(), "alice")
	certificate, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	if err := alice.WriteFiles(certificate, key); err != nil {
		t.Fatal(err)
	}
	pair := must(LoadKeyPair(certificate, key))(t)
	if len(pair.Certificate) != 2 || !pair.Leaf.Equal(alice.Certificate()) {
		t.Errorf("the files have %d certificates, of %v", len(pair.Certificate), pair.Leaf.Subject)
	}
	if mode := must(os.Stat(key))(t).Mode(); mode != 0o600 {
		t.Errorf("the key has mode %v", mode)
	}
	// One file that exists keeps both from being written.
	for _, left := range []string{"tls.crt", "tls.key"} {
		other := t.TempDir()
		if err := os.WriteFile(filepath.Join(other, left), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		err := alice.WriteFiles(filepath.Join(other, "tls.crt"), filepath.Join(other, "tls.key"))
		if !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), left) {
			t.Errorf("%s exists: %v", left, err)
		}
		wantFiles(t, other, left)
	}
}

// Where a later file fails, the earlier ones are taken back.
func TestCreateFilesLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	err := createFiles(newFile{path: filepath.Join(dir, "first"), mode: publicMode}, newFile{path: filepath.Join(dir, "absent", "second"), mode: publicMode})
	if err == nil {
		t.Error("a file was made in a folder that is not there")
	}
	wantFiles(t, dir)
}
