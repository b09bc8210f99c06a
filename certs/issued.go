package certs

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Issued is a new certificate with its key.
type Issued struct {
	certificate *x509.Certificate
	chain       [][]byte // the leaf first, without the root
	key         crypto.Signer
}

// Certificate returns the certificate itself.
func (i *Issued) Certificate() *x509.Certificate { return i.certificate }

// TLS returns the certificate, its chain and its key as crypto/tls takes them.
func (i *Issued) TLS() tls.Certificate {
	return tls.Certificate{Certificate: slices.Clone(i.chain), PrivateKey: i.key, Leaf: i.certificate}
}

// Material returns the certificate together with the roots to trust.
func (i *Issued) Material(roots ...*x509.Certificate) (*Material, error) {
	pair := i.TLS()
	return NewMaterial(&pair, roots, nil)
}

// ChainPEM returns the certificate in PEM, followed by those between it and the
// root, which is not part of it.
func (i *Issued) ChainPEM() []byte {
	var text []byte
	for _, der := range i.chain {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: blockCertificate, Bytes: der})...)
	}
	return text
}

// KeyPEM returns the private key in PEM (PKCS #8). It is a secret.
func (i *Issued) KeyPEM() ([]byte, error) { return keyPEM(i.key) }

// WriteFiles writes the certificate with its chain, and its key, which only the
// owner may read. It overwrites nothing: where either file exists, it writes
// neither. Missing folders are made, open to their owner alone.
func (i *Issued) WriteFiles(certificatePath, keyPath string) error {
	key, err := i.KeyPEM()
	if err != nil {
		return err
	}
	for _, path := range []string{certificatePath, keyPath} {
		if err := os.MkdirAll(filepath.Dir(path), folderMode); err != nil {
			return fmt.Errorf("make the folder of %s: %w", path, err)
		}
	}
	return createFiles(
		newFile{path: keyPath, text: key, mode: secretMode},
		newFile{path: certificatePath, text: i.ChainPEM(), mode: publicMode},
	)
}

func keyPEM(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode the private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: blockKey, Bytes: der}), nil
}
