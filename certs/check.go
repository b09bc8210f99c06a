package certs

import (
	"crypto/x509"
	"fmt"
	"time"
)

// A Problem is what is wrong with a peer's certificate.
type Problem int

// The problems, from the first that is looked for to the last. Where every
// chain of a certificate fails, the one that got furthest counts.
const (
	Missing   Problem = iota + 1 // there is no certificate
	Untrusted                    // no chain ends at a trusted root
	Expired                      // a certificate of the chain is outside its validity, on either side
	Revoked                      // a certificate of the chain is revoked
	Unusable                     // the certificate may not be used for this
)

// String returns a word for logs and metrics.
func (p Problem) String() string {
	switch p {
	case Missing:
		return "missing"
	case Untrusted:
		return "untrusted"
	case Expired:
		return "expired"
	case Revoked:
		return "revoked"
	case Unusable:
		return "unusable"
	}
	return fmt.Sprintf("Problem(%d)", int(p))
}

// A CheckError says why a certificate does not stand.
type CheckError struct {
	Problem Problem
	// Certificate is the one at fault; it may be one of the chain, and is nil
	// where there is none.
	Certificate *x509.Certificate
	detail      string
}

func (e *CheckError) Error() string {
	if e.Certificate == nil {
		return e.detail
	}
	return fmt.Sprintf("certificate %s of %q: %s", serialText(e.Certificate.SerialNumber), e.Certificate.Subject, e.detail)
}

// Check says whether a certificate that was verified earlier, with these
// chains (as tls.ConnectionState.VerifiedChains has them), still stands at now:
// whether one chain ends at a root of today, has every certificate within its
// validity, and none revoked. The error is a *CheckError.
//
// A chain's root counts as one of today's if a root of the same name and key is
// trusted now, and then has that one's validity.
func (m *Material) Check(chains [][]*x509.Certificate, now time.Time) error {
	_, err := m.StandsUntil(chains, now)
	return err
}

// StandsUntil is Check, and says when the last of the chains that stand ends by
// itself, as each does with the first of its certificates.
func (m *Material) StandsUntil(chains [][]*x509.Certificate, now time.Time) (time.Time, error) {
	worst := &CheckError{Problem: Untrusted, detail: "no verified chain to a trusted root"}
	var latest time.Time
	for _, chain := range chains {
		until, err := m.checkChain(chain, now)
		switch {
		case err == nil && until.After(latest):
			latest = until
		case err != nil && (err.Problem > worst.Problem || worst.Certificate == nil):
			worst = err
		}
	}
	if latest.IsZero() {
		return time.Time{}, worst
	}
	return latest, nil
}

// checkChain returns when the chain ends, or why it does not stand at now.
func (m *Material) checkChain(chain []*x509.Certificate, now time.Time) (until time.Time, _ *CheckError) {
	if len(chain) == 0 {
		return time.Time{}, &CheckError{Problem: Untrusted, detail: "no verified chain to a trusted root"}
	}
	last := len(chain) - 1
	roots := m.anchors[anchorKey(chain[last])]
	if len(roots) == 0 {
		return time.Time{}, &CheckError{Problem: Untrusted, Certificate: chain[last], detail: "is not among the trusted roots"}
	}
	var expired *CheckError
	for _, root := range roots {
		if err := within(root, now); err != nil {
			expired = err
		} else if root.NotAfter.After(until) {
			until = root.NotAfter
		}
	}
	for _, c := range chain[:last] {
		if err := within(c, now); err != nil {
			return time.Time{}, err
		}
		if c.NotAfter.Before(until) {
			until = c.NotAfter
		}
	}
	if until.IsZero() {
		return time.Time{}, expired
	}
	for i, c := range chain {
		var issuer *x509.Certificate
		if i < last {
			issuer = chain[i+1]
		}
		if detail, revoked := m.revocations.revoked(c, issuer, now); revoked {
			return time.Time{}, &CheckError{Problem: Revoked, Certificate: c, detail: detail}
		}
	}
	return until, nil
}

func within(c *x509.Certificate, now time.Time) *CheckError {
	switch {
	case now.Before(c.NotBefore):
		return &CheckError{Problem: Expired, Certificate: c, detail: "is not valid before " + stamp(c.NotBefore)}
	case now.After(c.NotAfter):
		return &CheckError{Problem: Expired, Certificate: c, detail: "expired at " + stamp(c.NotAfter)}
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
