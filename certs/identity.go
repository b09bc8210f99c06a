package certs

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"strings"
)

// A Kind is the kind of subject alternative name that identifies a peer.
type Kind int

// The kinds.
const (
	URI   Kind = iota // a SPIFFE ID: spiffe://<trust domain>/user/<name>
	DNS               // a DNS name
	Email             // an e-mail address
)

var kindNames = [...]string{URI: "uri", DNS: "dns", Email: "email"}

func (k Kind) String() string {
	if k < 0 || int(k) >= len(kindNames) {
		return fmt.Sprintf("Kind(%d)", int(k))
	}
	return kindNames[k]
}

// ParseKind is the reverse of Kind.String.
func ParseKind(text string) (Kind, error) {
	for k, name := range kindNames {
		if name == text {
			return Kind(k), nil
		}
	}
	return 0, fmt.Errorf("the identity kind %.100q is unknown: use uri, dns or email", text)
}

// MarshalText implements encoding.TextMarshaler.
func (k Kind) MarshalText() ([]byte, error) {
	if k < 0 || int(k) >= len(kindNames) {
		return nil, fmt.Errorf("the identity kind %d is unknown", int(k))
	}
	return []byte(k.String()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (k *Kind) UnmarshalText(text []byte) error {
	parsed, err := ParseKind(string(text))
	if err != nil {
		return err
	}
	*k = parsed
	return nil
}

// A Name is the one identity of a certificate.
type Name struct {
	Kind  Kind
	Value string // the whole subject alternative name; letters of DNS names are lower-case
	// User is the user whom the name names: the <name> of a SPIFFE ID, the whole
	// value of a DNS name or e-mail address.
	User        string
	TrustDomain string // of a SPIFFE ID; empty for other kinds
}

func (n Name) String() string { return n.Value }

// Identify returns the identity of a parsed certificate: its only subject
// alternative name of the kind. Names of other kinds beside it are nobody's, and
// the common name is never an identity. A certificate with two names of the kind
// has none.
//
// A URI must be a SPIFFE ID in canonical form whose path is /user/<name>, and of
// the trust domain, unless that is empty: byte for byte, since the certificate's
// own encoding is read, and not a URL made of it. The trust domain is not used
// for other kinds.
func Identify(leaf *x509.Certificate, kind Kind, trustDomain string) (Name, error) {
	tag, err := kind.tag()
	if err != nil {
		return Name{}, err
	}
	names, err := alternativeNames(leaf, tag)
	if err != nil {
		return Name{}, err
	}
	if len(names) != 1 {
		return Name{}, fmt.Errorf("the certificate has %d subject alternative names of kind %v: it must have exactly one", len(names), kind)
	}
	switch kind {
	case DNS:
		return dnsIdentity(names[0])
	case Email:
		return emailIdentity(names[0])
	default:
		return spiffeIdentity(names[0], trustDomain)
	}
}

func spiffeIdentity(id, trustDomain string) (Name, error) {
	if len(id) > maxSPIFFEID {
		return Name{}, fmt.Errorf("the SPIFFE ID is longer than %d bytes", maxSPIFFEID)
	}
	rest, ok := strings.CutPrefix(id, spiffeScheme)
	if !ok {
		return Name{}, fmt.Errorf("the URI %.100q is not a SPIFFE ID: it must be spiffe://<trust domain>/user/<name>", id)
	}
	domain, path, _ := strings.Cut(rest, "/")
	if err := checkTrustDomain(domain); err != nil {
		return Name{}, fmt.Errorf("the SPIFFE ID %.100q: %w", id, err)
	}
	if trustDomain != "" && domain != trustDomain {
		return Name{}, fmt.Errorf("the SPIFFE ID %.100q is not of the trust domain %.100q", id, trustDomain)
	}
	user, ok := strings.CutPrefix("/"+path, userPath)
	if !ok {
		return Name{}, fmt.Errorf("the SPIFFE ID %.100q is no user's: its path must be /user/<name>", id)
	}
	if err := checkUser(user); err != nil {
		return Name{}, fmt.Errorf("the SPIFFE ID %.100q: %w", id, err)
	}
	return Name{Kind: URI, Value: id, User: user, TrustDomain: domain}, nil
}

func dnsIdentity(name string) (Name, error) {
	lower := lowerASCII(name)
	if err := checkDNSName(lower); err != nil {
		return Name{}, fmt.Errorf("the DNS name %.100q cannot identify a peer: %w", name, err)
	}
	return Name{Kind: DNS, Value: lower, User: lower}, nil
}

// emailIdentity takes an address as it is, save for its domain, which is
// lower-cased: who "Al@example.org" is, is for that domain to say (RFC 5321,
// section 2.4).
func emailIdentity(address string) (Name, error) {
	local, domain, ok := strings.Cut(address, "@")
	if !ok || local == "" || len(local) > maxLocalPart {
		return Name{}, fmt.Errorf("the e-mail address %.100q must be <name>@<domain>, the name of at most %d bytes", address, maxLocalPart)
	}
	for i := range len(local) {
		if c := local[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),:;<>[\]`, c) >= 0 {
			return Name{}, fmt.Errorf("the e-mail address %.100q has a character that needs quoting", address)
		}
	}
	domain = lowerASCII(domain)
	if err := checkDNSName(domain); err != nil {
		return Name{}, fmt.Errorf("the e-mail address %.100q: %w", address, err)
	}
	value := local + "@" + domain
	return Name{Kind: Email, Value: value, User: value}, nil
}

// maxLocalPart is in bytes (RFC 5321, section 4.5.3.1.1).
const maxLocalPart = 64

// The tags of GeneralName (RFC 5280, section 4.2.1.6).
const (
	tagEmail = 1
	tagDNS   = 2
	tagURI   = 6
)

func (k Kind) tag() (int, error) {
	switch k {
	case URI:
		return tagURI, nil
	case DNS:
		return tagDNS, nil
	case Email:
		return tagEmail, nil
	}
	return 0, fmt.Errorf("the identity kind %d is unknown", int(k))
}

var errAlternativeNames = errors.New("the certificate's subject alternative names do not parse")

// alternativeNames returns the names with the tag as the certificate spells them.
func alternativeNames(c *x509.Certificate, tag int) ([]string, error) {
	oid := asn1.ObjectIdentifier{2, 5, 29, 17}
	var names []string
	found := false
	for _, extension := range c.Extensions {
		if !extension.Id.Equal(oid) {
			continue
		}
		if found {
			return nil, errors.New("the certificate has two extensions of subject alternative names")
		}
		found = true
		var sequence asn1.RawValue
		rest, err := asn1.Unmarshal(extension.Value, &sequence)
		if err != nil || len(rest) > 0 || sequence.Class != asn1.ClassUniversal || sequence.Tag != asn1.TagSequence || !sequence.IsCompound {
			return nil, errAlternativeNames
		}
		for rest = sequence.Bytes; len(rest) > 0; {
			var name asn1.RawValue
			if rest, err = asn1.Unmarshal(rest, &name); err != nil || name.Class != asn1.ClassContextSpecific {
				return nil, errAlternativeNames
			}
			if name.Tag == tag {
				names = append(names, string(name.Bytes))
			}
		}
	}
	return names, nil
}
