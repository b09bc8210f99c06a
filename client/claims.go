package client

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"
)

// What is read out of a token here is verified by nobody: that is for the server
// to do. It only saves asking the server in vain.

// expiryOf reads when a token expires (RFC 7519, section 4.1.4), and whether it
// says so.
func expiryOf(token string) (time.Time, bool) {
	var claims struct {
		Expires *float64 `json:"exp"`
	}
	if !readClaims(token, &claims) || claims.Expires == nil {
		return time.Time{}, false
	}
	const latest = 1 << 40 // seconds; beyond any calendar
	if seconds := *claims.Expires; seconds >= 0 && seconds < latest {
		return time.Unix(int64(seconds), 0), true
	}
	return time.Time{}, false
}

// A thumbprint is the SHA-256 of a certificate; zero where there is none.
type thumbprint [sha256.Size]byte

// bindingOf reads to which certificate a token is bound (RFC 8705, section 3.1),
// and whether it is to one.
func bindingOf(token string) (thumbprint, bool) {
	var claims struct {
		Confirmation struct {
			Certificate string `json:"x5t#S256"`
		} `json:"cnf"`
	}
	if !readClaims(token, &claims) {
		return thumbprint{}, false
	}
	digest, err := base64.RawURLEncoding.DecodeString(claims.Confirmation.Certificate)
	if err != nil || len(digest) != sha256.Size {
		return thumbprint{}, false
	}
	return thumbprint(digest), true
}

// readClaims reads the payload of a token, and says whether there is one that
// fits.
func readClaims(token string, claims any) bool {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	return err == nil && json.Unmarshal(payload, claims) == nil
}
