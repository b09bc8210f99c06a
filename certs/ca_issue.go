package certs

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"
)

// IssueOptions says how long a certificate is valid. The zero value takes the
// default lifetime from now. No certificate outlives the one that signs it.
type IssueOptions struct {
	Lifetime  time.Duration // the kind's default if zero
	NotBefore time.Time     // a minute ago if zero
	NotAfter  time.Time     // goes before Lifetime
}

// IssueServer makes a certificate for a server that is reached by these hosts,
// each a DNS name (a wildcard as its first label allowed) or an IP address.
func (ca *CA) IssueServer(hosts []string, o IssueOptions) (*Issued, error) {
	if len(hosts) == 0 {
		return nil, errors.New("a server's certificate needs at least one host: name the DNS names or IP addresses that clients dial")
	}
	template, err := ca.leaf(hosts[0], o, DefaultServerLifetime)
	if err != nil {
		return nil, err
	}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
			continue
		}
		name := lowerASCII(host)
		if err := checkDNSName(strings.TrimPrefix(name, "*.")); err != nil {
			return nil, fmt.Errorf("the host %.100q is neither a DNS name nor an IP address: %w", host, err)
		}
		template.DNSNames = append(template.DNSNames, name)
	}
	return ca.Issue(template, nil)
}

// IssueUser makes a certificate for a user: its one identity is the URI SAN
// spiffe://<trust domain>/user/<name>. The name is of letters, digits, dots,
// hyphens and underscores (the SPIFFE-ID standard, section 2.2), at most 64.
func (ca *CA) IssueUser(name string, o IssueOptions) (*Issued, error) {
	if err := checkUser(name); err != nil {
		return nil, err
	}
	if ca.trustDomain == "" {
		return nil, fmt.Errorf("the certificate of the authority %q names no trust domain (a URI spiffe://<trust domain>): issue users from one that was made here", ca.certificate.Subject)
	}
	template, err := ca.leaf(name, o, DefaultUserLifetime)
	if err != nil {
		return nil, err
	}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	template.URIs = []*url.URL{{Scheme: "spiffe", Host: ca.trustDomain, Path: userPath + name}}
	return ca.Issue(template, nil)
}

func (ca *CA) leaf(commonName string, o IssueOptions, lifetime time.Duration) (*x509.Certificate, error) {
	if o.Lifetime != 0 {
		lifetime = o.Lifetime
	}
	notBefore, notAfter, err := validity(ca.clock(), o.NotBefore, o.NotAfter, lifetime)
	if err != nil {
		return nil, err
	}
	if notAfter.After(ca.certificate.NotAfter) {
		notAfter = ca.certificate.NotAfter
	}
	if !notBefore.Before(notAfter) {
		return nil, fmt.Errorf("the authority's own certificate ended at %s: make a new authority", stamp(ca.certificate.NotAfter))
	}
	return &x509.Certificate{
		Subject:               pkix.Name{CommonName: commonName[:min(len(commonName), maxCommonName)]},
		NotBefore:             notBefore,
		NotAfter:              notAfter,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
	}, nil
}

// maxCommonName is ub-common-name of RFC 5280, appendix A.1. The name is for
// people who read the certificate; nothing here trusts it.
const maxCommonName = 64

// Issue signs the template as it is, for certificates out of the ordinary; a
// serial number is added where there is none. The key is the certificate's own:
// nil makes a new one of ECDSA P-256.
func (ca *CA) Issue(template *x509.Certificate, key crypto.Signer) (*Issued, error) {
	if key == nil {
		fresh, err := newKey()
		if err != nil {
			return nil, err
		}
		key = fresh
	}
	complete := *template
	if complete.SerialNumber == nil {
		serial, err := newSerial()
		if err != nil {
			return nil, err
		}
		complete.SerialNumber = serial
	}
	der, err := x509.CreateCertificate(rand.Reader, &complete, ca.certificate, key.Public(), ca.key)
	if err != nil {
		return nil, fmt.Errorf("sign the certificate of %q: %w", complete.Subject, err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("the new certificate of %q does not parse: %w", complete.Subject, err)
	}
	if ca.dir != "" {
		if err := ca.record(certificate); err != nil {
			return nil, err
		}
	}
	return &Issued{certificate: certificate, chain: append([][]byte{der}, ca.chain...), key: key}, nil
}
