package certs

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"
)

// ProblemOf returns what was wrong with a certificate, for an error of Check,
// of a handshake, or of a connection that the other side closed because of it.
// It returns false where the error has another cause.
func ProblemOf(err error) (Problem, bool) {
	var check *CheckError
	if errors.As(err, &check) {
		return check.Problem, true
	}
	var refused *refusedError
	if errors.As(err, &refused) {
		return refused.problem, refused.problem != 0
	}
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var verification *tls.CertificateVerificationError
	switch {
	case errors.As(err, &unknown):
		return Untrusted, true
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return Expired, true
	case errors.As(err, &invalid), errors.As(err, &verification):
		return Unusable, true
	case err != nil && strings.Contains(err.Error(), "client didn't provide a certificate"):
		return Missing, true
	}
	return 0, false
}

// A refusedError is a TLS alert of the other side, in words.
type refusedError struct {
	problem Problem
	text    string
	cause   error
}

func (e *refusedError) Error() string { return e.text + " (" + e.cause.Error() + ")" }
func (e *refusedError) Unwrap() error { return e.cause }

// alerts has words for what a server says of a client's certificate, keyed by
// crypto/tls's names for the alerts of RFC 8446, section 6.2.
var alerts = []struct {
	name    string
	problem Problem
	text    string
}{
	{"bad certificate", Unusable, "the server %s refused this client's certificate: it may be revoked, or not be meant for client authentication; ask its operator, or obtain a new one"},
	{"revoked certificate", Revoked, "the server %s refused this client's certificate as revoked: obtain a new one"},
	{"expired certificate", Expired, "the server %s refused this client's certificate, or one of its chain, as outside its validity: check both clocks, or obtain a new one"},
	{"unknown certificate authority", Untrusted, "the server %s does not trust the authority of this client's certificate: obtain one from an authority that it trusts"},
	{"certificate required", Missing, "the server %s asks for a client certificate and got none: configure a certificate and its key"},
	{"unsupported certificate", Unusable, "the server %s cannot use this client's kind of certificate: obtain one with an ECDSA P-256 key"},
	{"unknown certificate", Unusable, "the server %s refused this client's certificate: ask its operator why"},
	{"protocol version not supported", 0, "the server %s does not speak TLS 1.3, which is required here"},
	{"no application protocol", 0, "the server %s does not speak HTTP/2 at this address: check the address"},
}

// inWords returns err with an alert of the server put into words, and any other
// error as it is.
func inWords(err error, server string) error {
	var remote *net.OpError
	if !errors.As(err, &remote) || remote.Op != "remote error" {
		return err
	}
	for _, alert := range alerts {
		if strings.TrimPrefix(remote.Err.Error(), "tls: ") == alert.name {
			return &refusedError{problem: alert.problem, text: fmt.Sprintf(alert.text, server), cause: err}
		}
	}
	return err
}

// A wordedConn is a client's connection right after its handshake. In TLS 1.3 a
// server judges the client's certificate when the client believes to be done,
// so its refusal arrives at the first read, or not at all where a write fails
// sooner. Until a first read has succeeded, the connection puts the refusal into
// words, and looks for one when a write fails.
type wordedConn struct {
	net.Conn
	name     string
	failed   func(error)
	reported atomic.Bool
	admitted atomic.Bool
}

func (c *wordedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.admitted.Load() {
		return n, err
	}
	if n > 0 {
		c.admitted.Store(true)
	}
	return n, c.worded(err)
}

// lateAlertWait is how long a failed write looks for the alert that explains it.
const lateAlertWait = 500 * time.Millisecond

func (c *wordedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if err == nil || c.admitted.Load() {
		return n, err
	}
	if c.Conn.SetReadDeadline(time.Now().Add(lateAlertWait)) == nil {
		if _, alert := c.Conn.Read(make([]byte, 1)); alert != nil {
			if worded := c.worded(alert); worded != alert {
				return n, worded
			}
		}
	}
	return n, err
}

func (c *wordedConn) worded(err error) error {
	worded := inWords(err, c.name)
	if worded != err && c.reported.CompareAndSwap(false, true) {
		c.failed(worded)
	}
	return worded
}

// unacceptable puts into words that a server's request rules out the leaf.
func unacceptable(leaf *x509.Certificate, request *tls.CertificateRequestInfo, err error) string {
	if len(request.AcceptableCAs) == 0 {
		return "the server cannot use this client's certificate: " + err.Error()
	}
	const most = 3
	var names []string
	for _, raw := range request.AcceptableCAs {
		if len(names) == most {
			names = append(names, "…")
			break
		}
		var name pkix.RDNSequence
		if rest, err := asn1.Unmarshal(raw, &name); err == nil && len(rest) == 0 {
			names = append(names, fmt.Sprintf("%.100q", name.String()))
		}
	}
	return fmt.Sprintf("this client's certificate was issued by %q, and the server accepts only those of %s (%v): obtain one from an authority that the server trusts", leaf.Issuer, strings.Join(names, ", "), err)
}
