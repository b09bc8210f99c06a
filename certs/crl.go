package certs

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
)

// ParseCRLs reads revocation lists in PEM, of which there may be several, of
// several authorities, and must be at least one. Signatures are looked at where
// a list is used, since that takes its issuer.
//
// It refuses a list that it could not heed: a delta list, an indirect one, and
// one with a critical extension that it does not know (RFC 5280, section 5.2).
func ParseCRLs(text []byte) ([]*x509.RevocationList, error) {
	blocks, err := decodePEM(text)
	if err != nil {
		return nil, err
	}
	var lists []*x509.RevocationList
	for i, block := range blocks {
		if block.Type != blockCRL {
			return nil, fmt.Errorf("PEM block %d is %s and not %q", i+1, bounded(block.Type), blockCRL)
		}
		crl, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("revocation list %d does not parse: %w", i+1, err)
		}
		if err := heedable(crl); err != nil {
			return nil, fmt.Errorf("revocation list %d, of %.100q: %w", i+1, crl.Issuer.String(), err)
		}
		lists = append(lists, crl)
	}
	if len(lists) == 0 {
		return nil, fmt.Errorf("there is no revocation list: it must be in PEM, between BEGIN %s and END %s", blockCRL, blockCRL)
	}
	return lists, nil
}

// heedable says whether all that is critical in a list is understood.
func heedable(crl *x509.RevocationList) error {
	for _, extension := range crl.Extensions {
		if !extension.Critical {
			continue
		}
		switch {
		case extension.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 27}):
			return errors.New("is a delta list: use the complete one")
		case extension.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 28}):
			if err := direct(extension); err != nil {
				return err
			}
		default:
			return fmt.Errorf("has the critical extension %v, which is not supported", extension.Id)
		}
	}
	for _, entry := range crl.RevokedCertificateEntries {
		for _, extension := range entry.Extensions {
			if extension.Critical && !extension.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 21}) {
				return fmt.Errorf("its entry for %s has the critical extension %v, which is not supported", serialText(entry.SerialNumber), extension.Id)
			}
		}
	}
	return nil
}

// direct refuses the lists whose entries may be other authorities' certificates
// (IssuingDistributionPoint.indirectCRL; RFC 5280, section 5.2.5). The other
// members only narrow what a list covers: what is on it is revoked.
func direct(extension pkix.Extension) error {
	var point struct {
		DistributionPoint asn1.RawValue  `asn1:"optional,tag:0"`
		OnlyUsers         bool           `asn1:"optional,tag:1"`
		OnlyAuthorities   bool           `asn1:"optional,tag:2"`
		OnlySomeReasons   asn1.BitString `asn1:"optional,tag:3"`
		Indirect          bool           `asn1:"optional,tag:4"`
		OnlyAttributes    bool           `asn1:"optional,tag:5"`
	}
	rest, err := asn1.Unmarshal(extension.Value, &point)
	if err != nil || len(rest) > 0 {
		return errors.New("its issuing distribution point does not parse")
	}
	if point.Indirect {
		return errors.New("is an indirect list, which is not supported: use each authority's own")
	}
	return nil
}
