package certs

import (
	"bytes"
	"crypto/x509"
	"math/big"
	"sync"
	"time"
)

// A list is one revocation list, with its serial numbers indexed. It is shared
// by all Revocations that heed it, and may be used concurrently.
type list struct {
	*x509.RevocationList
	serials map[string]struct{}

	mu       sync.Mutex
	verdicts map[string]func() bool // by an issuer's public key: whether it signed the list
}

// maxVerdicts bounds the keys of one name for which a list remembers whether they
// signed it. An authority has one, and two while it changes them.
const maxVerdicts = 8

func newList(crl *x509.RevocationList) *list {
	l := &list{
		RevocationList: crl,
		serials:        make(map[string]struct{}, len(crl.RevokedCertificateEntries)),
		verdicts:       make(map[string]func() bool),
	}
	for _, entry := range crl.RevokedCertificateEntries {
		l.serials[serialKey(entry.SerialNumber)] = struct{}{}
	}
	return l
}

// signedBy says whether the list is signed with the issuer's key. It does not ask
// for cRLSign in the issuer's keyUsage, as CheckSignatureFrom would: without it a
// list would be passed over, and what it revokes would stand. Hashing a list of
// megabytes takes milliseconds, so that happens once for each key.
func (l *list) signedBy(issuer *x509.Certificate) bool {
	return l.verdict(issuer)()
}

func (l *list) verdict(issuer *x509.Certificate) func() bool {
	key := string(issuer.RawSubjectPublicKeyInfo)
	l.mu.Lock()
	defer l.mu.Unlock()
	if known, ok := l.verdicts[key]; ok {
		return known
	}
	verdict := sync.OnceValue(func() bool {
		return issuer.CheckSignature(l.SignatureAlgorithm, l.RawTBSRevocationList, l.Signature) == nil
	})
	if len(l.verdicts) < maxVerdicts {
		l.verdicts[key] = verdict
	}
	return verdict
}

// ofAnotherKey says whether the list says of itself that a key other than the
// issuer's signed it (authorityKeyIdentifier; RFC 5280, section 5.2.1).
func (l *list) ofAnotherKey(issuer *x509.Certificate) bool {
	return len(l.AuthorityKeyId) > 0 && len(issuer.SubjectKeyId) > 0 && !bytes.Equal(l.AuthorityKeyId, issuer.SubjectKeyId)
}

func (l *list) stale(now time.Time) bool {
	return !l.NextUpdate.IsZero() && now.After(l.NextUpdate)
}

func (l *list) numberText() string {
	if l.Number == nil {
		return ""
	}
	return " number " + l.Number.String()
}

// serialKey distinguishes the serial numbers of any two certificates, negative
// ones of careless authorities included.
func serialKey(n *big.Int) string { return n.Text(16) }
