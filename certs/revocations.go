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
		issuer := string(crl.RawIssuer)
		result.lists[issuer] = append(result.lists[issuer], newList(crl))
	}
	return result
}

// Strict returns a copy of r for which a certificate counts as revoked if the
// lists of its issuer are all past their nextUpdate, if one of them is not as the
// issuer's key signed it, or if there are only lists of another key of that name.
// Otherwise an old list serves on (see Stale), and one that is not the issuer's
// says nothing. In both cases an issuer without a list is not refused for that.
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

// Certificate says whether c is revoked. A list counts only if it is signed with
// the key of the issuer, which must be the one of c's verified chain; with a nil
// issuer only fingerprints count. It counts even where the issuer's keyUsage
// lacks cRLSign: what an authority's own key takes back is not to be honoured.
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

// revoked says whether c counts as revoked at now, and why.
func (r *Revocations) revoked(c, issuer *x509.Certificate, now time.Time) (string, bool) {
	if r == nil {
		return "", false
	}
	if detail, revoked := r.listed(c, issuer); revoked {
		return detail, true
	}
	if r.strict && issuer != nil {
		if why, unknown := r.unknown(issuer, now); unknown {
			return "its status is unknown: " + why, true
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
		if _, found := l.serials[serialKey(c.SerialNumber)]; found && l.signedBy(issuer) {
			return "is revoked by its issuer's list" + l.numberText(), true
		}
	}
	return "", false
}

// unknown says why the issuer's lists do not tell what is revoked at now, if they
// don't. An issuer without a list has nothing to tell.
func (r *Revocations) unknown(issuer *x509.Certificate, now time.Time) (string, bool) {
	lists := r.lists[string(issuer.RawSubject)]
	var newest *list
	for _, l := range lists {
		switch {
		case l.signedBy(issuer):
			if newest == nil || l.NextUpdate.After(newest.NextUpdate) {
				newest = l
			}
		case !l.ofAnotherKey(issuer):
			return "the revocation list" + l.numberText() + " in its issuer's name is not signed by its issuer", true
		}
	}
	switch {
	case newest == nil && len(lists) > 0:
		return "the only revocation lists in its issuer's name are those of another key", true
	case newest != nil && newest.stale(now):
		return "the revocation list of its issuer ended at " + stamp(newest.NextUpdate), true
	}
	return "", false
}

// signedBy refuses lists that claim to be of one of the authorities but are not
// signed by any of that name.
func (r *Revocations) signedBy(authorities []*x509.Certificate) error {
	for _, l := range r.unsigned(authorities) {
		return &unsignedError{l}
	}
	return nil
}

// unsigned returns the lists that are in the name of one of the authorities and
// not signed by any of that name. A list of an authority that is not among them may
// be an intermediate's, which only a peer's chain can tell.
func (r *Revocations) unsigned(authorities []*x509.Certificate) (found []*list) {
	for issuer, lists := range r.lists {
		for _, l := range lists {
			var known, signed bool
			for _, authority := range authorities {
				if string(authority.RawSubject) == issuer {
					known = true
					signed = signed || l.signedBy(authority)
				}
			}
			if known && !signed {
				found = append(found, l)
			}
		}
	}
	return found
}

// An unsignedError says that a list is not of the authority that it names.
type unsignedError struct{ list *list }

func (e *unsignedError) Error() string {
	return fmt.Sprintf("the revocation list%s in the name of %q is not signed by that authority: get it from the authority again", e.list.numberText(), e.list.Issuer.String())
}

// Thumbprint is the SHA-256 of a certificate's DER form: what fingerprints in a
// revocations file and x5t#S256 in a token (RFC 8705, section 3.1) stand for.
func Thumbprint(c *x509.Certificate) [sha256.Size]byte { return sha256.Sum256(c.Raw) }

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
