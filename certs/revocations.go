package certs

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"math/big"
	"time"
)

// Revocations is what has been taken back: certificates by revocation lists
// (RFC 5280, section 5) and by fingerprint, tokens by identifier and by subject.
// It is immutable, and a nil one revokes nothing.
type Revocations struct {
	lists        map[string][]*list // by the issuer's raw name
	certificates map[[sha256.Size]byte]struct{}
	tokens       map[string]struct{}
	subjects     map[string]time.Time // a zero time: whenever issued
	strict       bool
}

// A list is one revocation list, with its serial numbers indexed.
type list struct {
	*x509.RevocationList
	serials map[string]struct{}
}

// WithCRLs returns a copy of r that heeds these lists as well. Where there are
// several of one issuer, a certificate on any of them is revoked.
func (r *Revocations) WithCRLs(lists ...*x509.RevocationList) *Revocations {
	result := r.copy()
	result.lists = make(map[string][]*list, len(lists))
	if r != nil {
		for issuer, known := range r.lists {
			result.lists[issuer] = append([]*list(nil), known...)
		}
	}
	for _, crl := range lists {
		indexed := &list{RevocationList: crl, serials: make(map[string]struct{}, len(crl.RevokedCertificateEntries))}
		for _, entry := range crl.RevokedCertificateEntries {
			indexed.serials[serialKey(entry.SerialNumber)] = struct{}{}
		}
		issuer := string(crl.RawIssuer)
		result.lists[issuer] = append(result.lists[issuer], indexed)
	}
	return result
}

// Strict returns a copy of r for which a certificate of an issuer whose lists
// are all past their nextUpdate counts as revoked. Otherwise an old list serves
// on: see Stale.
func (r *Revocations) Strict() *Revocations {
	result := r.copy()
	result.strict = true
	return result
}

func (r *Revocations) copy() *Revocations {
	if r == nil {
		return &Revocations{}
	}
	result := *r
	return &result
}

// Certificate says whether c is revoked. A list counts only if the issuer,
// which must be the one of c's verified chain, has signed it; with a nil issuer
// only fingerprints count.
func (r *Revocations) Certificate(c, issuer *x509.Certificate) bool {
	if r == nil {
		return false
	}
	_, revoked := r.listed(c, issuer)
	return revoked
}

// Token says whether the token with this identifier (jti) is revoked.
func (r *Revocations) Token(jti string) bool {
	if r == nil || jti == "" {
		return false
	}
	_, revoked := r.tokens[jti]
	return revoked
}

// Subject says whether the tokens of this subject are revoked that were issued
// at the given time. A zero time, of a token that does not say, is before any.
func (r *Revocations) Subject(name string, issuedAt time.Time) bool {
	if r == nil {
		return false
	}
	before, listed := r.subjects[name]
	return listed && (before.IsZero() || issuedAt.IsZero() || issuedAt.Before(before))
}

// Stale returns the lists that are past their nextUpdate at now.
func (r *Revocations) Stale(now time.Time) []*x509.RevocationList {
	if r == nil {
		return nil
	}
	var stale []*x509.RevocationList
	for _, lists := range r.lists {
		for _, l := range lists {
			if l.stale(now) {
				stale = append(stale, l.RevocationList)
			}
		}
	}
	return stale
}

func (l *list) stale(now time.Time) bool {
	return !l.NextUpdate.IsZero() && now.After(l.NextUpdate)
}

// revoked says whether c counts as revoked at now, and why.
func (r *Revocations) revoked(c, issuer *x509.Certificate, now time.Time) (string, bool) {
	if r == nil {
		return "", false
	}
	if detail, revoked := r.listed(c, issuer); revoked {
		return detail, true
	}
	if r.strict && issuer != nil {
		if old := r.outOfDate(issuer, now); old != nil {
			return fmt.Sprintf("its status is unknown: the revocation list of its issuer ended at %s", stamp(old.NextUpdate)), true
		}
	}
	return "", false
}

func (r *Revocations) listed(c, issuer *x509.Certificate) (string, bool) {
	if len(r.certificates) > 0 {
		if _, found := r.certificates[Thumbprint(c)]; found {
			return "is revoked by its fingerprint", true
		}
	}
	if issuer == nil {
		return "", false
	}
	for _, l := range r.lists[string(issuer.RawSubject)] {
		if _, found := l.serials[serialKey(c.SerialNumber)]; found && l.CheckSignatureFrom(issuer) == nil {
			return "is revoked by its issuer's list" + l.numberText(), true
		}
	}
	return "", false
}

// outOfDate returns the newest of the issuer's lists if that is past its
// nextUpdate. It returns nil for an issuer without a list.
func (r *Revocations) outOfDate(issuer *x509.Certificate, now time.Time) *list {
	var newest *list
	for _, l := range r.lists[string(issuer.RawSubject)] {
		if l.CheckSignatureFrom(issuer) != nil {
			continue
		}
		if newest == nil || l.NextUpdate.After(newest.NextUpdate) {
			newest = l
		}
	}
	if newest == nil || !newest.stale(now) {
		return nil
	}
	return newest
}

// signedBy refuses lists that claim to be of one of the authorities but are not
// signed by any of that name. A list of an authority that is not among them may
// be an intermediate's, which only a peer's chain can tell.
func (r *Revocations) signedBy(authorities []*x509.Certificate) error {
	for issuer, lists := range r.lists {
		for _, l := range lists {
			var known, signed bool
			for _, authority := range authorities {
				if string(authority.RawSubject) == issuer {
					known = true
					signed = signed || l.CheckSignatureFrom(authority) == nil
				}
			}
			if known && !signed {
				return &unsignedError{l}
			}
		}
	}
	return nil
}

// An unsignedError says that a list is not of the authority that it names.
type unsignedError struct{ list *list }

func (e *unsignedError) Error() string {
	return fmt.Sprintf("the revocation list%s in the name of %q is not signed by that authority: get it from the authority again", e.list.numberText(), e.list.Issuer.String())
}

func (l *list) numberText() string {
	if l.Number == nil {
		return ""
	}
	return " number " + l.Number.String()
}

// Thumbprint is the SHA-256 of a certificate's DER form: what fingerprints in a
// revocations file and x5t#S256 in a token (RFC 8705, section 3.1) stand for.
func Thumbprint(c *x509.Certificate) [sha256.Size]byte { return sha256.Sum256(c.Raw) }

// serialKey distinguishes the serial numbers of any two certificates, negative
// ones of careless authorities included.
func serialKey(n *big.Int) string { return n.Text(16) }

func serialText(n *big.Int) string {
	if n == nil {
		return "without serial number"
	}
	raw := n.Bytes()
	if len(raw) == 0 {
		return "00"
	}
	return hex.EncodeToString(raw)
}
