package certs

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// How large files may be, in bytes.
const (
	maxFile    = 1 << 20
	maxCRLFile = 16 << 20
)

// LoadCertificates reads a file of certificates in PEM. Its errors, and those of
// the functions like it, say which file, what is wrong, and what to do.
func LoadCertificates(path string) ([]*x509.Certificate, error) {
	return load(path, "certificate file", readFile, ParseCertificates)
}

// LoadKey reads a file with a private key in PEM, which no one but its owner may
// read.
func LoadKey(path string) (crypto.Signer, error) {
	return load(path, "private key file", readKeyFile, ParseKey)
}

// LoadKeyPair reads a certificate, which its chain may follow, and its key.
func LoadKeyPair(certificatePath, keyPath string) (*tls.Certificate, error) {
	chain, err := LoadCertificates(certificatePath)
	if err != nil {
		return nil, err
	}
	key, err := LoadKey(keyPath)
	if err != nil {
		return nil, err
	}
	return pairOf(chain, key, certificatePath, keyPath)
}

// LoadCRLs reads a file of revocation lists in PEM.
func LoadCRLs(path string) ([]*x509.RevocationList, error) {
	return load(path, "revocation list file", readCRLFile, ParseCRLs)
}

// LoadRevocations reads a revocations file: see ParseRevocations.
func LoadRevocations(path string) (*Revocations, error) {
	return load(path, "revocations file", readFile, ParseRevocations)
}

func load[T any](path, what string, read func(string) ([]byte, error), parse func([]byte) (T, error)) (T, error) {
	var none T
	text, err := read(path)
	if err != nil {
		return none, fileError(what, path, err)
	}
	parsed, err := parse(text)
	if err != nil {
		return none, fileError(what, path, err)
	}
	return parsed, nil
}

func pairOf(chain []*x509.Certificate, key crypto.Signer, certificatePath, keyPath string) (*tls.Certificate, error) {
	pair := &tls.Certificate{PrivateKey: key}
	for _, c := range chain {
		pair.Certificate = append(pair.Certificate, c.Raw)
	}
	pair, err := matched(pair)
	if errors.Is(err, errMismatch) {
		return nil, fmt.Errorf("the key in %s is not that of the first certificate in %s: use the pair that was issued together, the certificate before those of its authorities", keyPath, certificatePath)
	}
	if err != nil {
		return nil, fileError("certificate file", certificatePath, err)
	}
	return pair, nil
}

func fileError(what, path string, err error) error {
	return fmt.Errorf("%s %s: %w", what, path, err)
}

func readFile(path string) ([]byte, error)    { return readLimited(path, maxFile, false) }
func readCRLFile(path string) ([]byte, error) { return readLimited(path, maxCRLFile, false) }
func readKeyFile(path string) ([]byte, error) { return readLimited(path, maxFile, true) }

// ReadSecret reads a file that holds a secret, such as a token: a regular file of
// at most limit bytes, which must be closed to those whom it does not concern.
// Only its owner may read it; where the owner is root and this process is not,
// its group may too, because that is how orchestrators mount secrets. Errors say
// in words what is wrong and do not name the path.
func ReadSecret(path string, limit int64) ([]byte, error) { return readLimited(path, limit, true) }

// readLimited reads a regular file of at most limit bytes. A secret one must be
// closed to all but its owner, where the system has such permissions.
func readLimited(path string, limit int64, secret bool) ([]byte, error) {
	// Opening what is not a file, such as a named pipe, could block.
	if info, err := os.Stat(path); err != nil {
		return nil, readError(err)
	} else if !info.Mode().IsRegular() {
		return nil, errors.New("is not a regular file")
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, readError(err)
	}
	defer file.Close()
	if secret {
		info, err := file.Stat()
		if err != nil {
			return nil, readError(err)
		}
		if err := checkSecret(info, path); err != nil {
			return nil, err
		}
	}
	text, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, readError(err)
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("is larger than %d KiB, which is more than such a file has", limit>>10)
	}
	return text, nil
}

// readError says in words what the commonest errors mean. The path is left to
// the caller, who names it anyway.
func readError(err error) error {
	var path *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &wordedError{"does not exist: check the path, or create it", err}
	case errors.Is(err, fs.ErrPermission):
		return &wordedError{"may not be read by this user: give it to the user that runs this program", err}
	case errors.As(err, &path):
		return path.Err
	}
	return err
}

// A wordedError has words of its own over the error that it wraps.
type wordedError struct {
	text  string
	cause error
}

func (e *wordedError) Error() string { return e.text }
func (e *wordedError) Unwrap() error { return e.cause }
