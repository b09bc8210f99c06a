package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"sync"
	"time"
)

// What a CA takes where its options do not say.
const (
	DefaultCAName         = "securechat CA"
	DefaultTrustDomain    = "securechat"
	DefaultCALifetime     = 10 * 365 * 24 * time.Hour
	DefaultServerLifetime = 365 * 24 * time.Hour
	DefaultUserLifetime   = 90 * 24 * time.Hour

	// crlLifetime is the time from one revocation list to its nextUpdate. The
	// lists of a small set-up are written when something is revoked, not daily.
	crlLifetime = 365 * 24 * time.Hour

	// backdating lets peers whose clocks are behind use a new certificate.
	backdating = time.Minute
)

// CAOptions says what a new CA is like. The zero value will do.
type CAOptions struct {
	Name        string           // the common name; DefaultCAName if empty
	TrustDomain string           // the trust domain of its users; DefaultTrustDomain if empty
	Lifetime    time.Duration    // DefaultCALifetime if zero
	NotBefore   time.Time        // a minute ago if zero
	NotAfter    time.Time        // goes before Lifetime
	Depth       int              // how many authorities may stand between it and a leaf (pathLenConstraint)
	Clock       func() time.Time // time.Now if nil
}

// A CA issues and revokes certificates for development and small set-ups. It may
// be used concurrently.
//
// Its own certificate follows RFC 5280's profile for authorities: critical
// basicConstraints with a path length, keyUsage keyCertSign and cRLSign, key
// identifiers, a random 128-bit serial number. All keys are ECDSA P-256.
type CA struct {
	certificate *x509.Certificate
	chain       [][]byte // below the certificate, up to but without the root
	key         crypto.Signer
	trustDomain string
	clock       func() time.Time
	dir         string // empty: in memory

	mu      sync.Mutex
	number  *big.Int // of the latest revocation list
	revoked []x509.RevocationListEntry
	crl     []byte // the latest list, in PEM
}

// NewCA makes a CA in memory, which is gone with the process.
func NewCA(o CAOptions) (*CA, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	template, err := o.template()
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign the authority's certificate: %w", err)
	}
	return o.authority(der, nil, key)
}

// IssueCA makes an intermediate CA in memory, whose certificate ca signs. The
// Depth of ca must be greater than that of the new one.
func (ca *CA) IssueCA(o CAOptions) (*CA, error) {
	if o.TrustDomain == "" {
		o.TrustDomain = ca.trustDomain
	}
	if o.Clock == nil {
		o.Clock = ca.clock
	}
	template, err := o.template()
	if err != nil {
		return nil, err
	}
	issued, err := ca.Issue(template, nil)
	if err != nil {
		return nil, err
	}
	return o.authority(issued.chain[0], issued.chain[1:], issued.key)
}

func (o CAOptions) template() (*x509.Certificate, error) {
	trustDomain := o.trustDomain()
	if err := checkTrustDomain(trustDomain); err != nil {
		return nil, err
	}
	if o.Depth < 0 {
		return nil, fmt.Errorf("the depth %d of an authority is negative", o.Depth)
	}
	name := o.Name
	if name == "" {
		name = DefaultCAName
	}
	lifetime := o.Lifetime
	if lifetime == 0 {
		lifetime = DefaultCALifetime
	}
	notBefore, notAfter, err := validity(o.now(), o.NotBefore, o.NotAfter, lifetime)
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	return &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: name},
		URIs:                  []*url.URL{{Scheme: "spiffe", Host: trustDomain}},
		NotBefore:             notBefore,
		NotAfter:              notAfter,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLen:            o.Depth,
		MaxPathLenZero:        o.Depth == 0,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}, nil
}

func (o CAOptions) authority(der []byte, above [][]byte, key crypto.Signer) (*CA, error) {
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("the authority's new certificate does not parse: %w", err)
	}
	ca := &CA{
		certificate: certificate,
		chain:       chainBelowRoot(der, above, certificate),
		key:         key,
		trustDomain: o.trustDomain(),
		clock:       o.clock(),
		number:      big.NewInt(1),
	}
	if ca.crl, err = ca.signCRL(); err != nil {
		return nil, err
	}
	return ca, nil
}

// chainBelowRoot is what a leaf presents after itself: the issuer and those
// above it, without a root, which its peers must have anyway.
func chainBelowRoot(der []byte, above [][]byte, certificate *x509.Certificate) [][]byte {
	if selfIssued(certificate) {
		return nil
	}
	return append([][]byte{der}, above...)
}

func selfIssued(c *x509.Certificate) bool {
	return string(c.RawSubject) == string(c.RawIssuer) && c.CheckSignatureFrom(c) == nil
}

func (o CAOptions) trustDomain() string {
	if o.TrustDomain == "" {
		return DefaultTrustDomain
	}
	return o.TrustDomain
}

func (o CAOptions) clock() func() time.Time {
	if o.Clock == nil {
		return time.Now
	}
	return o.Clock
}

func (o CAOptions) now() time.Time { return o.clock()() }

// Certificate returns the CA's own certificate.
func (ca *CA) Certificate() *x509.Certificate { return ca.certificate }

// CertificatePEM returns the CA's own certificate in PEM.
func (ca *CA) CertificatePEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: blockCertificate, Bytes: ca.certificate.Raw})
}

// TrustDomain returns the trust domain of the users that the CA issues for.
func (ca *CA) TrustDomain() string { return ca.trustDomain }

// validity returns the dates of a certificate; explicit ones go first.
func validity(now, notBefore, notAfter time.Time, lifetime time.Duration) (time.Time, time.Time, error) {
	if lifetime < 0 {
		return time.Time{}, time.Time{}, fmt.Errorf("the lifetime %v is negative", lifetime)
	}
	if notAfter.IsZero() {
		start := now
		if !notBefore.IsZero() {
			start = notBefore
		}
		notAfter = start.Add(lifetime)
	}
	if notBefore.IsZero() {
		notBefore = now.Add(-backdating)
	}
	if !notBefore.Before(notAfter) {
		return time.Time{}, time.Time{}, fmt.Errorf("the certificate would end at %s, before it begins at %s", stamp(notAfter), stamp(notBefore))
	}
	return notBefore, notAfter, nil
}

func newKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return key, nil
}

// newSerial returns a positive serial number of 128 random bits (RFC 5280,
// section 4.1.2.2, allows 20 octets).
func newSerial() (*big.Int, error) {
	for {
		n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 128))
		if err != nil {
			return nil, fmt.Errorf("make a serial number: %w", err)
		}
		if n.Sign() > 0 {
			return n, nil
		}
	}
}

var errNotOurs = errors.New("the certificate was not issued by this authority")
