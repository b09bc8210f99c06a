package certs

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
)

// A Source gives the key material of this moment. Material never blocks and may
// be called concurrently; what it returns never changes, so a caller that needs
// one consistent view keeps the result.
type Source interface {
	Material() *Material
}

// A Notifier is a Source that tells of its changes. Changed returns a channel
// that is closed at the next change: take the channel first, then read
// Material, then wait, and no change is missed.
type Notifier interface {
	Changed() <-chan struct{}
}

// Material is one consistent set of a certificate with its key, the roots that
// are trusted, and what is revoked. It is immutable.
type Material struct {
	certificate *tls.Certificate
	roots       []*x509.Certificate
	pool        *x509.CertPool
	anchors     map[string][]*x509.Certificate // by anchorKey
	revocations *Revocations
}

var _ Source = (*Material)(nil)

// NewMaterial makes a set out of its parts. The certificate may be nil, as for a
// client that only looks at a server; the revocations may be nil, for none.
//
// It refuses a certificate whose private key is another's, a set without roots,
// a root that is no authority, and a revocation list that claims to be a root's
// but is not signed by it.
func NewMaterial(certificate *tls.Certificate, roots []*x509.Certificate, revocations *Revocations) (*Material, error) {
	m, err := newMaterial(certificate, roots, revocations)
	if err != nil {
		return nil, err
	}
	if err := m.revocations.signedBy(roots); err != nil {
		return nil, err
	}
	return m, nil
}

// newMaterial is NewMaterial, which see, but takes lists that are not of the roots
// that they name. They revoke nothing of these.
func newMaterial(certificate *tls.Certificate, roots []*x509.Certificate, revocations *Revocations) (*Material, error) {
	m := &Material{
		roots:       slices.Clone(roots),
		pool:        x509.NewCertPool(),
		anchors:     make(map[string][]*x509.Certificate, len(roots)),
		revocations: revocations,
	}
	if m.revocations == nil {
		m.revocations = &Revocations{}
	}
	if certificate != nil {
		var err error
		if m.certificate, err = matched(certificate); err != nil {
			return nil, err
		}
	}
	if len(roots) == 0 {
		return nil, errNoRoots
	}
	for _, root := range roots {
		if !root.BasicConstraintsValid || !root.IsCA {
			return nil, fmt.Errorf("the trusted root %q is not an authority's certificate (basicConstraints CA:TRUE is missing): trust the certificate that issued it", root.Subject)
		}
		m.pool.AddCert(root)
		key := anchorKey(root)
		m.anchors[key] = append(m.anchors[key], root)
	}
	return m, nil
}

var errNoRoots = errors.New("no trusted roots: name at least one authority's certificate")

// WithCertificate returns m with another certificate, or none, for this side. It
// refuses a certificate whose private key is another's, and the zero Material, which
// has no roots.
func (m *Material) WithCertificate(certificate *tls.Certificate) (*Material, error) {
	if len(m.roots) == 0 {
		return nil, errNoRoots
	}
	result := *m
	result.certificate = nil
	if certificate != nil {
		var err error
		if result.certificate, err = matched(certificate); err != nil {
			return nil, err
		}
	}
	return &result, nil
}

// Material returns m: fixed material is a Source that never changes.
func (m *Material) Material() *Material { return m }

// Certificate returns this side's certificate chain and key, with Leaf set, or
// nil where there is none. The result is read-only.
func (m *Material) Certificate() *tls.Certificate { return m.certificate }

// Roots returns the trusted authorities.
func (m *Material) Roots() []*x509.Certificate { return slices.Clone(m.roots) }

// Pool returns the trusted authorities as a pool, which is read-only: it is
// shared by all handshakes.
func (m *Material) Pool() *x509.CertPool { return m.pool }

// Revocations returns what is revoked. It is never nil.
func (m *Material) Revocations() *Revocations { return m.revocations }

// anchorKey names a trust anchor as RFC 5280, section 6.1.1 (d) does: by its
// name and public key, so that a root renewed with its key stays the same one.
func anchorKey(root *x509.Certificate) string {
	return string(root.RawSubject) + string(root.RawSubjectPublicKeyInfo)
}

// matched returns a copy of the certificate with Leaf set, if its chain parses
// and its key is the leaf's.
func matched(certificate *tls.Certificate) (*tls.Certificate, error) {
	if len(certificate.Certificate) == 0 {
		return nil, errors.New("the certificate is empty")
	}
	result := *certificate
	for i, der := range certificate.Certificate {
		parsed, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("certificate %d of the chain does not parse: %w", i+1, err)
		}
		if i == 0 {
			result.Leaf = parsed
		}
	}
	signer, ok := certificate.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("the certificate of %q has no private key that can sign", result.Leaf.Subject)
	}
	public, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(result.Leaf.PublicKey) {
		return nil, errMismatch
	}
	return &result, nil
}

var errMismatch = errors.New("the private key is not the certificate's: use the pair that was issued together")
