package certs

import "errors"

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
