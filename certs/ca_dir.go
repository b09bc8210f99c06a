package certs

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// The files of a CA's folder.
const (
	certificateFile = "ca.crt"
	keyFile         = "ca.key"
	crlFile         = "crl.pem"
	issuedFolder    = "issued" // a copy of each certificate issued, <serial>.crt
)

// InitCA makes a CA and keeps it in a folder: its certificate in ca.crt, which
// peers trust, its key in ca.key, which never leaves it, and its revocation list,
// still empty, in crl.pem. A copy of each certificate that it issues is kept in
// issued/, under its serial number. InitCA overwrites nothing: where one of the
// files exists, it leaves all as it is.
func InitCA(dir string, o CAOptions) (*CA, error) {
	ca, err := NewCA(o)
	if err != nil {
		return nil, err
	}
	key, err := keyPEM(ca.key)
	if err != nil {
		return nil, err
	}
	ca.dir = dir
	if err := os.MkdirAll(ca.path(issuedFolder), folderMode); err != nil {
		return nil, fmt.Errorf("make the authority's folder: %w", err)
	}
	err = createFiles(
		newFile{path: ca.path(keyFile), text: key, mode: secretMode},
		newFile{path: ca.path(certificateFile), text: ca.CertificatePEM(), mode: publicMode},
		newFile{path: ca.path(crlFile), text: ca.crl, mode: publicMode},
	)
	if err != nil {
		return nil, fmt.Errorf("make the authority: %w", err)
	}
	return ca, nil
}

// OpenCA opens the CA that InitCA left in a folder.
func OpenCA(dir string) (*CA, error) {
	ca := &CA{dir: dir, clock: time.Now}
	certificates, err := LoadCertificates(ca.path(certificateFile))
	if err != nil {
		return nil, err
	}
	ca.certificate = certificates[0]
	if !ca.certificate.IsCA || !ca.certificate.BasicConstraintsValid {
		return nil, fileError("certificate file", ca.path(certificateFile), errors.New("is not an authority's certificate"))
	}
	if ca.key, err = LoadKey(ca.path(keyFile)); err != nil {
		return nil, err
	}
	if public, ok := ca.key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(ca.certificate.PublicKey) {
		return nil, fileError("private key file", ca.path(keyFile), fmt.Errorf("is not the key of the certificate in %s: restore the pair from a copy", ca.path(certificateFile)))
	}
	if !selfIssued(ca.certificate) {
		for _, c := range certificates {
			ca.chain = append(ca.chain, c.Raw)
		}
	}
	ca.trustDomain = trustDomainOf(ca.certificate)
	if err := ca.reload(); err != nil {
		return nil, err
	}
	return ca, nil
}

// trustDomainOf returns the trust domain that an authority's certificate names
// as its SPIFFE ID (X509-SVID, section 4.2), or nothing.
func trustDomainOf(c *x509.Certificate) string {
	names, err := alternativeNames(c, tagURI)
	if err != nil || len(names) != 1 {
		return ""
	}
	domain, ok := strings.CutPrefix(names[0], spiffeScheme)
	if !ok || checkTrustDomain(domain) != nil {
		return ""
	}
	return domain
}

// reload takes over the revocation list that the folder has.
func (ca *CA) reload() error {
	path := ca.path(crlFile)
	text, err := readCRLFile(path)
	if err != nil {
		return fileError("revocation list file", path, err)
	}
	lists, err := ParseCRLs(text)
	if err != nil {
		return fileError("revocation list file", path, err)
	}
	if len(lists) != 1 || lists[0].CheckSignatureFrom(ca.certificate) != nil {
		return fileError("revocation list file", path, errors.New("is not this authority's own list: restore it from a copy"))
	}
	ca.crl, ca.number = text, lists[0].Number
	if ca.number == nil {
		ca.number = new(big.Int)
	}
	ca.revoked = nil
	for _, e := range lists[0].RevokedCertificateEntries {
		ca.revoked = append(ca.revoked, x509.RevocationListEntry{SerialNumber: e.SerialNumber, RevocationTime: e.RevocationTime, ReasonCode: e.ReasonCode})
	}
	return nil
}

// record keeps a copy of a certificate, so that it can be revoked when its owner
// has lost it.
func (ca *CA) record(c *x509.Certificate) error {
	path := ca.recordPath(c.SerialNumber)
	if err := os.MkdirAll(filepath.Dir(path), folderMode); err != nil {
		return fmt.Errorf("keep a copy of the certificate: %w", err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: blockCertificate, Bytes: c.Raw})
	if err := createFiles(newFile{path: path, text: text, mode: publicMode}); err != nil {
		return fmt.Errorf("keep a copy of the certificate: %w", err)
	}
	return nil
}

// Issued returns the certificates that a CA in a folder has issued, in the order
// of their serial numbers. A CA in memory keeps no record.
func (ca *CA) Issued() ([]*x509.Certificate, error) {
	if ca.dir == "" {
		return nil, errors.New("this authority is in memory and keeps no record of what it issues")
	}
	entries, err := os.ReadDir(ca.path(issuedFolder))
	if err != nil {
		return nil, fmt.Errorf("read what the authority has issued: %w", err)
	}
	var issued []*x509.Certificate
	for _, entry := range entries {
		if filepath.Ext(entry.Name()) != ".crt" {
			continue
		}
		certificates, err := LoadCertificates(ca.path(issuedFolder, entry.Name()))
		if err != nil {
			return nil, err
		}
		issued = append(issued, certificates[0])
	}
	return issued, nil
}

func (ca *CA) recordPath(serial *big.Int) string {
	return ca.path(issuedFolder, serialText(serial)+".crt")
}

func (ca *CA) path(elements ...string) string {
	return filepath.Join(append([]string{ca.dir}, elements...)...)
}
