package certs

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"slices"
)

// Paths names the files of a Source. All but Roots are optional; Certificate and
// Key go together.
type Paths struct {
	Certificate string // PEM: this side's certificate, then those of its authorities, without the root
	Key         string // PEM: its private key, readable by its owner alone
	Roots       string // PEM: the authorities to trust
	CRL         string // PEM: revocation lists, of any number of authorities
	Revocations string // see ParseRevocations
}

func (p Paths) list() []string {
	return []string{p.Certificate, p.Key, p.Roots, p.CRL, p.Revocations}
}

func (p Paths) check() error {
	switch {
	case p.Roots == "":
		return errors.New("no file of trusted roots is named: name one with the authorities' certificates in PEM")
	case p.Certificate != "" && p.Key == "":
		return fileError("certificate file", p.Certificate, errors.New("has no private key with it: name the key's file, too"))
	case p.Certificate == "" && p.Key != "":
		return fileError("private key file", p.Key, errors.New("has no certificate with it: name the certificate's file, too"))
	}
	return nil
}

// contents is what the files hold, read as one set. A nil member has no path.
type contents struct {
	certificate, key, roots, crl, revocations []byte
}

// maxReads bounds how often a set is read again that changes while it is read.
const maxReads = 5

// read reads all files, and all of them again where one changed meanwhile.
func (p Paths) read() (contents, error) {
	for range maxReads {
		before := look(p.list())
		read, err := p.readOnce()
		if !slices.EqualFunc(before, look(p.list()), glimpse.same) {
			continue
		}
		return read, err
	}
	return contents{}, errors.New("the files keep changing while they are read: write them once, then rename them into place")
}

func (p Paths) readOnce() (contents, error) {
	var c contents
	for _, file := range []struct {
		path, what string
		read       func(string) ([]byte, error)
		into       *[]byte
	}{
		{p.Certificate, "certificate file", readFile, &c.certificate},
		{p.Key, "private key file", readKeyFile, &c.key},
		{p.Roots, "trusted roots file", readFile, &c.roots},
		{p.CRL, "revocation list file", readCRLFile, &c.crl},
		{p.Revocations, "revocations file", readFile, &c.revocations},
	} {
		if file.path == "" {
			continue
		}
		text, err := file.read(file.path)
		if err != nil {
			return contents{}, fileError(file.what, file.path, err)
		}
		*file.into = text
	}
	return c, nil
}

// digest tells two sets apart, or a set from an error of reading it.
func (c contents) digest(err error) [sha256.Size]byte {
	hash := sha256.New()
	write := func(b []byte) {
		hash.Write(binary.BigEndian.AppendUint64(nil, uint64(len(b))))
		hash.Write(b)
	}
	for _, part := range [][]byte{c.certificate, c.key, c.roots, c.crl, c.revocations} {
		write(part)
	}
	if err != nil {
		write([]byte(err.Error()))
	}
	return [sha256.Size]byte(hash.Sum(nil))
}

// material makes key material of a set that was read from p.
func (p Paths) material(c contents, strict bool) (*Material, error) {
	pair, err := p.pair(c)
	if err != nil {
		return nil, err
	}
	roots, err := ParseCertificates(c.roots)
	if err != nil {
		return nil, fileError("trusted roots file", p.Roots, err)
	}
	revocations, err := p.revocations(c)
	if err != nil {
		return nil, err
	}
	if strict {
		revocations = revocations.Strict()
	}
	m, err := NewMaterial(pair, roots, revocations)
	var unsigned *unsignedError
	switch {
	case errors.As(err, &unsigned):
		return nil, fileError("revocation list file", p.CRL, err)
	case err != nil:
		return nil, fileError("trusted roots file", p.Roots, err)
	}
	return m, nil
}

func (p Paths) pair(c contents) (*tls.Certificate, error) {
	if p.Certificate == "" {
		return nil, nil
	}
	chain, err := ParseCertificates(c.certificate)
	if err != nil {
		return nil, fileError("certificate file", p.Certificate, err)
	}
	key, err := ParseKey(c.key)
	if err != nil {
		return nil, fileError("private key file", p.Key, err)
	}
	return pairOf(chain, key, p.Certificate, p.Key)
}

func (p Paths) revocations(c contents) (*Revocations, error) {
	revocations := &Revocations{}
	if p.Revocations != "" {
		parsed, err := ParseRevocations(c.revocations)
		if err != nil {
			return nil, fileError("revocations file", p.Revocations, err)
		}
		revocations = parsed
	}
	if p.CRL != "" {
		lists, err := ParseCRLs(c.crl)
		if err != nil {
			return nil, fileError("revocation list file", p.CRL, err)
		}
		revocations = revocations.WithCRLs(lists...)
	}
	return revocations, nil
}
