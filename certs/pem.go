package certs

// The types of PEM blocks (RFC 7468; the key types beside PKCS #8 are OpenSSL's).
const (
	blockCertificate = "CERTIFICATE"
	blockCRL         = "X509 CRL"
	blockKey         = "PRIVATE KEY"
)
