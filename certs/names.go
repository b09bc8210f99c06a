package certs

import (
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
)

const (
	spiffeScheme = "spiffe://"
	userPath     = "/user/"

	maxTrustDomain = 255  // bytes; SPIFFE-ID, section 2.1
	maxSPIFFEID    = 2048 // bytes; SPIFFE-ID, section 2.3
	maxUser        = 64   // bytes
	maxDNSName     = 253  // bytes; RFC 1035, section 2.3.4, in text form
	maxDNSLabel    = 63   // bytes
)

// checkTrustDomain allows what the SPIFFE-ID standard, section 2.1, does.
func checkTrustDomain(domain string) error {
	if domain == "" {
		return errors.New("the trust domain is empty")
	}
	if len(domain) > maxTrustDomain {
		return fmt.Errorf("the trust domain is longer than %d bytes", maxTrustDomain)
	}
	for i := range len(domain) {
		if c := domain[i]; !isLower(c) && !isDigit(c) && c != '.' && c != '-' && c != '_' {
			return fmt.Errorf("the trust domain %.100q may have only lower-case letters, digits, dots, hyphens and underscores", domain)
		}
	}
	return nil
}

// checkUser allows a segment of a SPIFFE ID's path, of at most 64 bytes.
func checkUser(name string) error {
	if name == "" {
		return errors.New("the user name is empty")
	}
	if len(name) > maxUser {
		return fmt.Errorf("the user name is longer than %d bytes", maxUser)
	}
	if name == "." || name == ".." {
		return fmt.Errorf("the user name %q is a relative path", name)
	}
	for i := range len(name) {
		if c := name[i]; !isLower(c) && !isUpper(c) && !isDigit(c) && c != '.' && c != '-' && c != '_' {
			return fmt.Errorf("the user name %.100q may have only letters, digits, dots, hyphens and underscores", name)
		}
	}
	return nil
}

// checkDNSName allows a lower-case host name without wildcard or trailing dot.
func checkDNSName(name string) error {
	if name == "" || len(name) > maxDNSName {
		return fmt.Errorf("a DNS name has 1 to %d bytes", maxDNSName)
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > maxDNSLabel || label[0] == '-' || label[len(label)-1] == '-' {
			return fmt.Errorf("%.100q has a label that is empty, longer than %d bytes, or begins or ends with a hyphen", name, maxDNSLabel)
		}
		for i := range len(label) {
			if c := label[i]; !isLower(c) && !isDigit(c) && c != '-' && c != '_' {
				return fmt.Errorf("%.100q may have only letters, digits, hyphens, underscores and dots", name)
			}
		}
	}
	return nil
}

// lowerASCII leaves other letters alone, some of which strings.ToLower would make
// ASCII ones: the Kelvin sign becomes a k.
func lowerASCII(name string) string {
	lower := []byte(name)
	for i, c := range lower {
		if isUpper(c) {
			lower[i] = c - 'A' + 'a'
		}
	}
	return string(lower)
}

func isLower(c byte) bool { return 'a' <= c && c <= 'z' }
func isUpper(c byte) bool { return 'A' <= c && c <= 'Z' }
func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// usageName is RFC 5280's name for an extended key usage.
func usageName(usage x509.ExtKeyUsage) string {
	switch usage {
	case x509.ExtKeyUsageAny:
		return "anyExtendedKeyUsage"
	case x509.ExtKeyUsageServerAuth:
		return "serverAuth"
	case x509.ExtKeyUsageClientAuth:
		return "clientAuth"
	case x509.ExtKeyUsageCodeSigning:
		return "codeSigning"
	case x509.ExtKeyUsageEmailProtection:
		return "emailProtection"
	case x509.ExtKeyUsageTimeStamping:
		return "timeStamping"
	case x509.ExtKeyUsageOCSPSigning:
		return "OCSPSigning"
	}
	return fmt.Sprintf("usage %d", int(usage))
}
