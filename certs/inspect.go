package certs

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// A Report says what a certificate or revocation list holds, for people. It is
// one of the two, and the other is nil.
type Report struct {
	Certificate *CertificateReport `json:"certificate,omitempty"`
	CRL         *CRLReport         `json:"crl,omitempty"`
}

// A CertificateReport says what a certificate holds.
type CertificateReport struct {
	Subject    string    `json:"subject"`
	Issuer     string    `json:"issuer"`
	Serial     string    `json:"serial"` // hexadecimal
	NotBefore  time.Time `json:"not_before"`
	NotAfter   time.Time `json:"not_after"`
	CA         bool      `json:"ca"`
	Key        string    `json:"key"`
	Usages     []string  `json:"usages,omitempty"`
	URIs       []string  `json:"uris,omitempty"`
	DNS        []string  `json:"dns,omitempty"`
	Emails     []string  `json:"emails,omitempty"`
	IPs        []string  `json:"ips,omitempty"`
	Identity   string    `json:"identity,omitempty"`    // the one SPIFFE ID, if it has one
	User       string    `json:"user,omitempty"`        // whom the identity names
	SHA256     string    `json:"sha256"`                // hexadecimal, as in a revocations file
	Thumbprint string    `json:"thumbprint"`            // base64url, as in a token's cnf x5t#S256
	NoIdentity string    `json:"no_identity,omitempty"` // why it has no identity, for one of a client
}

// A CRLReport says what a revocation list holds.
type CRLReport struct {
	Issuer     string          `json:"issuer"`
	Number     string          `json:"number,omitempty"`
	ThisUpdate time.Time       `json:"this_update"`
	NextUpdate time.Time       `json:"next_update,omitzero"`
	Revoked    []RevokedReport `json:"revoked"`
}

// A RevokedReport is an entry of a revocation list.
type RevokedReport struct {
	Serial string    `json:"serial"` // hexadecimal
	At     time.Time `json:"at"`
	Reason Reason    `json:"reason"`
}

// Inspect reports on each certificate and revocation list in PEM, in order.
func Inspect(text []byte) ([]Report, error) {
	blocks, err := decodePEM(text)
	if err != nil {
		return nil, err
	}
	var reports []Report
	for i, block := range blocks {
		switch block.Type {
		case blockCertificate:
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("certificate in PEM block %d does not parse: %w", i+1, err)
			}
			reports = append(reports, Report{Certificate: reportOf(c)})
		case blockCRL:
			crl, err := x509.ParseRevocationList(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("revocation list in PEM block %d does not parse: %w", i+1, err)
			}
			reports = append(reports, Report{CRL: crlReportOf(crl)})
		default:
			return nil, fmt.Errorf("PEM block %d is %s: certificates and revocation lists can be inspected", i+1, bounded(block.Type))
		}
	}
	if len(reports) == 0 {
		return nil, errors.New("there is no certificate or revocation list in PEM")
	}
	return reports, nil
}

func reportOf(c *x509.Certificate) *CertificateReport {
	thumbprint := Thumbprint(c)
	r := &CertificateReport{
		Subject:    c.Subject.String(),
		Issuer:     c.Issuer.String(),
		Serial:     serialText(c.SerialNumber),
		NotBefore:  c.NotBefore.UTC(),
		NotAfter:   c.NotAfter.UTC(),
		CA:         c.IsCA,
		Key:        keyName(c),
		DNS:        c.DNSNames,
		Emails:     c.EmailAddresses,
		SHA256:     hex.EncodeToString(thumbprint[:]),
		Thumbprint: base64.RawURLEncoding.EncodeToString(thumbprint[:]),
	}
	for _, usage := range c.ExtKeyUsage {
		r.Usages = append(r.Usages, usageName(usage))
	}
	if uris, err := alternativeNames(c, tagURI); err == nil {
		r.URIs = uris
	}
	for _, ip := range c.IPAddresses {
		r.IPs = append(r.IPs, ip.String())
	}
	if name, err := Identify(c, URI, ""); err == nil {
		r.Identity, r.User = name.Value, name.User
	} else if usableFor(c, x509.ExtKeyUsageClientAuth) == nil {
		r.NoIdentity = err.Error()
	}
	return r
}

func crlReportOf(crl *x509.RevocationList) *CRLReport {
	r := &CRLReport{
		Issuer:     crl.Issuer.String(),
		ThisUpdate: crl.ThisUpdate.UTC(),
		NextUpdate: crl.NextUpdate.UTC(),
		Revoked:    []RevokedReport{},
	}
	if crl.Number != nil {
		r.Number = crl.Number.String()
	}
	for _, e := range crl.RevokedCertificateEntries {
		r.Revoked = append(r.Revoked, RevokedReport{Serial: serialText(e.SerialNumber), At: e.RevocationTime.UTC(), Reason: Reason(e.ReasonCode)})
	}
	return r
}

func keyName(c *x509.Certificate) string {
	switch key := c.PublicKey.(type) {
	case *ecdsa.PublicKey:
		return "ECDSA " + key.Curve.Params().Name
	case ed25519.PublicKey:
		return "Ed25519"
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", key.N.BitLen())
	}
	return c.PublicKeyAlgorithm.String()
}
