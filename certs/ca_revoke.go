package certs

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"slices"
	"time"
)

// Reason is why a certificate is revoked (CRLReason, RFC 5280, section 5.3.1).
type Reason int

// The reasons that a CA gives.
const (
	Unspecified          Reason = 0
	KeyCompromise        Reason = 1
	AffiliationChanged   Reason = 3
	Superseded           Reason = 4
	CessationOfOperation Reason = 5
	PrivilegeWithdrawn   Reason = 9
)

// Revoke puts the certificate on the CA's revocation list, whose number rises.
// One that is on it already stays as it is.
func (ca *CA) Revoke(certificate *x509.Certificate, reason Reason) error {
	if err := certificate.CheckSignatureFrom(ca.certificate); err != nil {
		return fmt.Errorf("revoke certificate %s of %q: %w", serialText(certificate.SerialNumber), certificate.Subject, errNotOurs)
	}
	return ca.revoke(certificate.SerialNumber, reason)
}

// RevokeSerial is Revoke for a certificate of which only the number is at hand.
// A CA in a folder must have issued it, so that a slip does not go unnoticed.
func (ca *CA) RevokeSerial(serial *big.Int, reason Reason) error {
	if ca.dir != "" {
		if _, err := os.Stat(ca.recordPath(serial)); err != nil {
			return fmt.Errorf("revoke certificate %s: %s has no certificate of that serial number: check the number, or revoke by the certificate itself", serialText(serial), ca.path(issuedFolder))
		}
	}
	return ca.revoke(serial, reason)
}

func (ca *CA) revoke(serial *big.Int, reason Reason) error {
	switch reason {
	case Unspecified, KeyCompromise, AffiliationChanged, Superseded, CessationOfOperation, PrivilegeWithdrawn:
	default:
		return fmt.Errorf("revoke certificate %s: %d is not a reason", serialText(serial), int(reason))
	}
	ca.mu.Lock()
	defer ca.mu.Unlock()
	return ca.change(func() bool {
		if slices.ContainsFunc(ca.revoked, func(e x509.RevocationListEntry) bool { return e.SerialNumber.Cmp(serial) == 0 }) {
			return false
		}
		ca.revoked = append(ca.revoked, x509.RevocationListEntry{
			SerialNumber:   new(big.Int).Set(serial),
			RevocationTime: ca.clock().UTC().Truncate(time.Second),
			ReasonCode:     int(reason),
		})
		return true
	})
}

// CRL returns the CA's current revocation list in PEM.
func (ca *CA) CRL() ([]byte, error) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	if ca.dir != "" {
		if err := ca.reload(); err != nil {
			return nil, err
		}
	}
	return slices.Clone(ca.crl), nil
}

// RenewCRL signs the list anew, with a higher number and a later nextUpdate.
func (ca *CA) RenewCRL() error {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	return ca.change(func() bool { return true })
}

// change runs edit on what is revoked, and if that changed it, signs the next
// list. In a folder, it starts from what the folder has, holds the folder's lock,
// and keeps the list there. If it fails, everything is as before.
func (ca *CA) change(edit func() bool) error {
	if ca.dir != "" {
		unlock, err := lockDir(ca.dir)
		if err != nil {
			return fmt.Errorf("lock the authority's folder %s: %w", ca.dir, err)
		}
		defer unlock()
		if err := ca.reload(); err != nil {
			return err
		}
	}
	number, revoked := ca.number, slices.Clone(ca.revoked)
	if !edit() {
		return nil
	}
	ca.number = new(big.Int).Add(ca.number, big.NewInt(1))
	text, err := ca.signCRL()
	if err == nil && ca.dir != "" {
		err = replaceFile(ca.path(crlFile), text, publicMode)
	}
	if err != nil {
		ca.number, ca.revoked = number, revoked
		return err
	}
	ca.crl = text
	return nil
}

func (ca *CA) signCRL() ([]byte, error) {
	now := ca.clock().UTC().Truncate(time.Second)
	next := now.Add(crlLifetime)
	if end := ca.certificate.NotAfter; next.After(end) && end.After(now) {
		next = end
	}
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number:                    ca.number,
		ThisUpdate:                now,
		NextUpdate:                next,
		RevokedCertificateEntries: ca.revoked,
	}, ca.certificate, ca.key)
	if err != nil {
		return nil, fmt.Errorf("sign the revocation list: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: blockCRL, Bytes: der}), nil
}
