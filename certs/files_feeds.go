package certs

import (
	"crypto/tls"
	"crypto/x509"
	"time"
)

// The names of a FileSource's feeds.
const (
	feedCertificate = "certificate"
	feedRoots       = "roots"
	feedCRL         = "crl"
	feedRevocations = "revocations"
)

// A fileFeed is those files of a source that are replaced together.
type fileFeed struct {
	record
	name    string
	files   []feedFile
	lines   bool   // what is cut off between two lines looks whole
	waiting change // what did not fit the other feeds when it was read
	// parse makes a value of the files' texts, and returns what puts it among
	// others.
	parse func(texts [][]byte) (func(*values), error)
	// expires is when the first part of the feed's value ends by itself; zero: it
	// does not.
	expires func(values) time.Time
}

// A feedFile is one file of a feed, with its kind in words for errors.
type feedFile struct {
	path, what string
	read       func(string) ([]byte, error)
}

// values are what the feeds of a source say, each the last that was good.
type values struct {
	pair        *tls.Certificate
	roots       []*x509.Certificate
	lists       *Revocations // of the lists alone
	revocations *Revocations // of all but the lists
}

// material makes one set of the values, each of which is good by itself. Lists may
// be of other keys than the roots that they name.
func (v values) material(strict bool) (*Material, error) {
	revocations := v.revocations.copy()
	if v.lists != nil {
		revocations.lists = v.lists.lists
	}
	revocations.strict = strict
	return newMaterial(v.pair, v.roots, revocations)
}

// feeds are those of the paths that are named.
func (p Paths) feeds() []*fileFeed {
	feeds := []*fileFeed{p.rootsFeed()}
	if p.Certificate != "" {
		feeds = append(feeds, p.certificateFeed())
	}
	if p.CRL != "" {
		feeds = append(feeds, p.crlFeed())
	}
	if p.Revocations != "" {
		feeds = append(feeds, p.revocationsFeed())
	}
	return feeds
}

func (p Paths) certificateFeed() *fileFeed {
	certificate, key := feedFile{p.Certificate, "certificate file", readFile}, feedFile{p.Key, "private key file", readKeyFile}
	return &fileFeed{
		name: feedCertificate, files: []feedFile{certificate, key},
		parse: func(texts [][]byte) (func(*values), error) {
			chain, err := ParseCertificates(texts[0])
			if err != nil {
				return nil, fileError(certificate.what, p.Certificate, err)
			}
			signer, err := ParseKey(texts[1])
			if err != nil {
				return nil, fileError(key.what, p.Key, err)
			}
			pair, err := pairOf(chain, signer, p.Certificate, p.Key)
			return func(v *values) { v.pair = pair }, err
		},
		expires: func(v values) time.Time {
			chain := []*x509.Certificate{v.pair.Leaf}
			for _, der := range v.pair.Certificate[1:] {
				if c, err := x509.ParseCertificate(der); err == nil { // pairOf has parsed it once
					chain = append(chain, c)
				}
			}
			return earliest(chain, func(c *x509.Certificate) time.Time { return c.NotAfter })
		},
	}
}

func (p Paths) rootsFeed() *fileFeed {
	file := feedFile{p.Roots, "trusted roots file", readFile}
	return &fileFeed{
		name: feedRoots, files: []feedFile{file},
		parse: func(texts [][]byte) (func(*values), error) {
			roots, err := ParseCertificates(texts[0])
			if err == nil {
				_, err = NewMaterial(nil, roots, nil) // says whether they are authorities
			}
			if err != nil {
				return nil, fileError(file.what, p.Roots, err)
			}
			return func(v *values) { v.roots = roots }, nil
		},
		expires: func(v values) time.Time {
			return earliest(v.roots, func(c *x509.Certificate) time.Time { return c.NotAfter })
		},
	}
}

func (p Paths) crlFeed() *fileFeed {
	file := feedFile{p.CRL, "revocation list file", readCRLFile}
	return &fileFeed{
		name: feedCRL, files: []feedFile{file},
		parse: func(texts [][]byte) (func(*values), error) {
			crls, err := ParseCRLs(texts[0])
			if err != nil {
				return nil, fileError(file.what, p.CRL, err)
			}
			lists := (&Revocations{}).WithCRLs(crls...)
			return func(v *values) { v.lists = lists }, nil
		},
		expires: func(v values) time.Time {
			var all []*list
			for _, lists := range v.lists.lists {
				all = append(all, lists...)
			}
			return earliest(all, func(l *list) time.Time { return l.NextUpdate })
		},
	}
}

func (p Paths) revocationsFeed() *fileFeed {
	file := feedFile{p.Revocations, "revocations file", readFile}
	return &fileFeed{
		name: feedRevocations, files: []feedFile{file}, lines: true,
		parse: func(texts [][]byte) (func(*values), error) {
			revocations, err := ParseRevocations(texts[0])
			if err != nil {
				return nil, fileError(file.what, p.Revocations, err)
			}
			return func(v *values) { v.revocations = revocations }, nil
		},
		expires: func(values) time.Time { return time.Time{} },
	}
}

// earliest returns the first of the times that the items have; a zero one is none.
func earliest[T any](items []T, at func(T) time.Time) time.Time {
	var first time.Time
	for _, item := range items {
		if t := at(item); !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}

// see looks at the feed's files.
func (f *fileFeed) see() sight {
	paths := make([]string, len(f.files))
	for i, file := range f.files {
		paths[i] = file.path
	}
	return see(paths, f.read)
}

// read returns the texts of the files.
func (f *fileFeed) read() ([][]byte, error) {
	texts := make([][]byte, len(f.files))
	for i, file := range f.files {
		text, err := file.read(file.path)
		if err != nil {
			return nil, fileError(file.what, file.path, err)
		}
		texts[i] = text
	}
	return texts, nil
}
