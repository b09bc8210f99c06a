package certs

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// The types of PEM blocks (RFC 7468; the key types beside PKCS #8 are OpenSSL's).
const (
	blockCertificate = "CERTIFICATE"
	blockCRL         = "X509 CRL"
	blockKey         = "PRIVATE KEY"
	blockECKey       = "EC PRIVATE KEY"
	blockRSAKey      = "RSA PRIVATE KEY"
	blockEncrypted   = "ENCRYPTED PRIVATE KEY"
	blockECParams    = "EC PARAMETERS"
)

// decodePEM returns all PEM blocks of text, between which there may be anything
// else. Unlike pem.Decode, which passes over a block that is damaged or cut off,
// it refuses the whole.
func decodePEM(text []byte) ([]*pem.Block, error) {
	var blocks []*pem.Block
	rest := text
	for {
		block, after := pem.Decode(rest)
		if block == nil {
			break
		}
		blocks = append(blocks, block)
		rest = after
	}
	begun := bytes.Count(text, []byte("-----BEGIN "))
	if begun != len(blocks) {
		return nil, fmt.Errorf("%d of %d PEM blocks are damaged or cut off", begun-len(blocks), begun)
	}
	return blocks, nil
}

// ParseCertificates reads certificates in PEM, at least one. Blocks that are not
// certificates are refused.
func ParseCertificates(text []byte) ([]*x509.Certificate, error) {
	blocks, err := decodePEM(text)
	if err != nil {
		return nil, err
	}
	var result []*x509.Certificate
	for i, block := range blocks {
		if block.Type != blockCertificate {
			return nil, fmt.Errorf("PEM block %d is %s and not a %q", i+1, bounded(block.Type), blockCertificate)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d does not parse: %w", i+1, err)
		}
		result = append(result, c)
	}
	if len(result) == 0 {
		return nil, fmt.Errorf("there is no certificate: it must be in PEM, between BEGIN %s and END %s", blockCertificate, blockCertificate)
	}
	return result, nil
}

// ParseKey reads the one private key in PEM: PKCS #8, SEC 1 or PKCS #1, of ECDSA,
// Ed25519 or RSA. No part of it is in an error.
func ParseKey(text []byte) (crypto.Signer, error) {
	blocks, err := decodePEM(text)
	if err != nil {
		return nil, err
	}
	var key crypto.Signer
	for _, block := range blocks {
		if block.Type == blockECParams {
			continue
		}
		if key != nil {
			return nil, errors.New("there is more than a private key: leave only that")
		}
		if key, err = keyOf(block); err != nil {
			return nil, err
		}
	}
	if key == nil {
		return nil, fmt.Errorf("there is no private key: it must be in PEM, between BEGIN %s and END %s", blockKey, blockKey)
	}
	return key, nil
}

func keyOf(block *pem.Block) (crypto.Signer, error) {
	if block.Type == blockEncrypted || block.Headers["DEK-Info"] != "" {
		return nil, errors.New("the private key is encrypted: decrypt it with `openssl pkey -in OLD -out NEW`")
	}
	var parsed any
	var err error
	switch block.Type {
	case blockKey:
		parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case blockECKey:
		parsed, err = x509.ParseECPrivateKey(block.Bytes)
	case blockRSAKey:
		parsed, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("there is a PEM block %s where a private key is expected", bounded(block.Type))
	}
	if err != nil {
		return nil, fmt.Errorf("the private key in the PEM block %q does not parse: make it anew", block.Type)
	}
	switch key := parsed.(type) {
	case *ecdsa.PrivateKey:
		return key, nil
	case ed25519.PrivateKey:
		return key, nil
	case *rsa.PrivateKey:
		return key, nil
	}
	return nil, errors.New("the private key is of a kind that cannot sign: use ECDSA P-256")
}
