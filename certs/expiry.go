package certs

import (
	"crypto/x509"
	"time"
)

// An Expiry is when a part of the material ends, for metrics and warnings.
type Expiry struct {
	Part   string // "certificate", "chain", "root" or "crl"
	Name   string // the subject; the issuer of a revocation list
	Serial string // hexadecimal; the number of a revocation list
	At     time.Time
}

// Expiries returns when each certificate and revocation list of the material
// ends: its own certificate first, where it has one. A list that does not say
// when the next is due is left out.
func (m *Material) Expiries() []Expiry {
	var all []Expiry
	add := func(part string, c *x509.Certificate) {
		all = append(all, Expiry{Part: part, Name: c.Subject.String(), Serial: serialText(c.SerialNumber), At: c.NotAfter})
	}
	if m.certificate != nil {
		add("certificate", m.certificate.Leaf)
		for _, der := range m.certificate.Certificate[1:] {
			if c, err := x509.ParseCertificate(der); err == nil { // NewMaterial has parsed it once
				add("chain", c)
			}
		}
	}
	for _, root := range m.roots {
		add("root", root)
	}
	for _, lists := range m.revocations.lists {
		for _, l := range lists {
			if l.NextUpdate.IsZero() {
				continue
			}
			serial := ""
			if l.Number != nil {
				serial = l.Number.Text(16)
			}
			all = append(all, Expiry{Part: "crl", Name: l.Issuer.String(), Serial: serial, At: l.NextUpdate})
		}
	}
	return all
}
