package certs

import (
	"bytes"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A replacement is new text for files of a mount, by their names.
type replacement map[string][]byte

// half has the first half of each text, as a reader sees it that comes too early.
func (r replacement) half() replacement {
	half := replacement{}
	for name, text := range r {
		half[name] = text[:len(text)/2]
	}
	return half
}

// A mount is a folder of files that are replaced in one of the ways there are.
type mount struct {
	t       *testing.T
	dir     string
	files   replacement
	version string
}

func (m *mount) path(name string) string { return filepath.Join(m.dir, name) }

func (m *mount) do(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

var waysToReplace = map[string]func(*mount, replacement){
	"in place": func(m *mount, r replacement) {
		for name, text := range r {
			m.do(os.WriteFile(m.path(name), text, 0o600))
		}
	},
	"renamed": func(m *mount, r replacement) {
		for name, text := range r {
			m.do(os.WriteFile(m.path("new"), text, 0o600))
			m.do(os.Rename(m.path("new"), m.path(name)))
		}
	},
	// As Kubernetes does it: each file is a link into ..data, which is a link to
	// the folder of a version.
	"link swapped": func(m *mount, r replacement) {
		maps.Copy(m.files, r)
		m.version += "+"
		m.do(os.Mkdir(m.path(m.version), 0o700))
		for name, text := range m.files {
			m.do(os.WriteFile(m.path(filepath.Join(m.version, name)), text, 0o600))
		}
		m.do(os.Symlink(m.version, m.path("..tmp")))
		m.do(os.Rename(m.path("..tmp"), m.path("..data")))
		for name := range m.files {
			if _, err := os.Lstat(m.path(name)); err != nil {
				m.do(os.Symlink(filepath.Join("..data", name), m.path(name)))
			}
		}
	},
}

// A fixture is the first good files of a source, and for each feed a good
// replacement.
type fixture struct {
	ca    *CA
	first replacement
	next  map[string]replacement
	sees  map[string]func(*Material) bool
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	ca, other := newTestCA(t, CAOptions{}), newTestCA(t, CAOptions{Name: "Other"})
	pair, nextPair := must(ca.IssueServer([]string{"localhost"}, IssueOptions{}))(t), must(ca.IssueServer([]string{"localhost"}, IssueOptions{}))(t)
	crl := must(ca.CRL())(t)
	must(0, ca.Revoke(pair.Certificate(), Superseded))(t)
	return &fixture{
		ca: ca,
		first: replacement{
			"tls.crt": pair.ChainPEM(), "tls.key": must(pair.KeyPEM())(t), "roots": ca.CertificatePEM(), "crl": crl, "revocations": []byte("# none yet\n"),
		},
		next: map[string]replacement{
			feedCertificate: {"tls.crt": nextPair.ChainPEM(), "tls.key": must(nextPair.KeyPEM())(t)},
			feedRoots:       {"roots": append(ca.CertificatePEM(), other.CertificatePEM()...)},
			feedCRL:         {"crl": must(ca.CRL())(t)},
			feedRevocations: {"revocations": []byte("jti 42\nsubject \"somebody of a long name\"\n")},
		},
		sees: map[string]func(*Material) bool{
			feedCertificate: func(m *Material) bool {
				return bytes.Equal(m.Certificate().Certificate[0], nextPair.Certificate().Raw)
			},
			feedRoots:       func(m *Material) bool { return len(m.Roots()) == 2 },
			feedCRL:         func(m *Material) bool { return m.Revocations().Certificate(pair.Certificate(), ca.Certificate()) },
			feedRevocations: func(m *Material) bool { return m.Revocations().Token("42") },
		},
	}
}

// follow mounts the first files in that way and follows them.
func (f *fixture) follow(t *testing.T, way string, options ...FileOption) (*mount, *FileSource, *safeBuffer) {
	t.Helper()
	m := &mount{t: t, dir: t.TempDir(), files: replacement{}, version: "..v"}
	waysToReplace[way](m, f.first)
	log := &safeBuffer{}
	source := must(Files(Paths{
		Certificate: m.path("tls.crt"), Key: m.path("tls.key"), Roots: m.path("roots"), CRL: m.path("crl"), Revocations: m.path("revocations"),
	}, append(options, WithLogger(slog.New(slog.NewTextHandler(log, nil))))...))(t)
	return m, source, log
}

func stateOf(t *testing.T, source *FileSource, name string) FeedState {
	t.Helper()
	for _, state := range source.Feeds() {
		if state.Name == name {
			return state
		}
	}
	t.Fatalf("there is no feed %s", name)
	return FeedState{}
}

func wantState(t *testing.T, source *FileSource, name string, good, broken uint64) {
	t.Helper()
	if state := stateOf(t, source, name); state.Good != good || state.Broken != broken {
		t.Errorf("%s: %d good and %d broken, want %d and %d", name, state.Good, state.Broken, good, broken)
	}
}

// Whichever feed is replaced in whatever way: half a file changes nothing, and is
// logged and counted once; all of it is in force within a second.
func TestEveryFeedIsFollowedHoweverItIsReplaced(t *testing.T) {
	for way, replace := range waysToReplace {
		for _, name := range []string{feedCertificate, feedRoots, feedCRL, feedRevocations} {
			t.Run(way+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := newFixture(t)
					m, source, log := f.follow(t, way)
					defer source.Close()
					next := f.next[name]

					before, changed := source.Material(), source.Changed()
					replace(m, next.half())
					<-time.After(3 * time.Second)
					select {
					case <-changed:
						t.Error("half a file is a change")
					default:
					}
					if source.Material() != before || strings.Count(log.String(), "not replaced") != 1 || !strings.Contains(log.String(), "feed="+name) {
						t.Errorf("half a file is in force, or was not logged once:\n%s", log)
					}
					wantState(t, source, name, 1, 1)

					replace(m, next)
					began := time.Now()
					select {
					case <-changed:
					case <-time.After(time.Second):
					}
					if !f.sees[name](source.Material()) {
						t.Fatalf("not in force after %v:\n%s", time.Since(began), log)
					}
					<-time.After(3 * time.Second)
					if strings.Count(log.String(), "key material replaced") != 1 {
						t.Errorf("the change was not logged once:\n%s", log)
					}
					wantState(t, source, name, 2, 1)
					if state := stateOf(t, source, name); state.Loaded.Before(began) || state.Loaded.After(began.Add(time.Second)) {
						t.Errorf("loaded at %v, want within a second of %v", state.Loaded, began)
					}
				})
			})
		}
	}
}

// What is revoked while another file is broken is revoked.
func TestABrokenFeedDoesNotHoldUpTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		m, source, log := f.follow(t, "renamed")
		defer source.Close()
		all := replacement{"tls.crt": []byte("half a fi")}
		maps.Copy(all, f.next[feedCRL])
		maps.Copy(all, f.next[feedRevocations])
		waysToReplace["renamed"](m, all)
		<-time.After(time.Second)
		for _, name := range []string{feedCRL, feedRevocations} {
			if !f.sees[name](source.Material()) {
				t.Errorf("%s: not in force beside a broken certificate:\n%s", name, log)
			}
			wantState(t, source, name, 2, 0)
		}
		wantState(t, source, feedCertificate, 1, 1)
		if err := source.Reload(); err == nil || !strings.Contains(err.Error(), "tls.crt") {
			t.Errorf("Reload says %v, want what is wrong with the certificate", err)
		}
		wantState(t, source, feedCertificate, 1, 1) // counted once
		wantState(t, source, feedCRL, 3, 0)         // and read again by hand
	})
}

func TestFeedsSayWhenTheyEnd(t *testing.T) {
	f := newFixture(t)
	_, source, _ := f.follow(t, "in place")
	defer source.Close()
	material := source.Material()
	first := map[string]time.Time{}
	for _, expiry := range material.Expiries() {
		part := map[string]string{"certificate": feedCertificate, "chain": feedCertificate, "root": feedRoots, "crl": feedCRL}[expiry.Part]
		if at, ok := first[part]; !ok || expiry.At.Before(at) {
			first[part] = expiry.At
		}
	}
	for _, name := range []string{feedCertificate, feedRoots, feedCRL, feedRevocations} {
		if got := stateOf(t, source, name).Expires; !got.Equal(first[name]) {
			t.Errorf("%s ends at %v, want %v", name, got, first[name])
		}
	}
}

func TestEarliest(t *testing.T) {
	at := func(seconds ...int64) (times []time.Time) {
		for _, s := range seconds {
			times = append(times, time.Unix(s, 0))
		}
		return times
	}
	never := time.Time{}
	for _, test := range []struct {
		times []time.Time
		want  time.Time
	}{
		{nil, never},
		{[]time.Time{never}, never},
		{at(3, 1, 2), time.Unix(1, 0)},
		{append([]time.Time{never}, at(2, 1)...), time.Unix(1, 0)},
		{append(at(2), never), time.Unix(2, 0)}, // a list that does not say when the next is due
	} {
		if got := earliest(test.times, func(t time.Time) time.Time { return t }); !got.Equal(test.want) {
			t.Errorf("of %v: %v, want %v", test.times, got, test.want)
		}
	}
}
