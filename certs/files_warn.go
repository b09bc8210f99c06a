package certs

import (
	"context"
	"strings"
	"time"
)

// remind warns again of what still needs a person.
func (s *FileSource) remind(ctx context.Context) {
	ticker := time.NewTicker(time.Hour)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			s.warn(s.Material(), now)
		}
	}
}

// expiringSoon is how long before its end a certificate is warned of.
const expiringSoon = 3 * 24 * time.Hour

func (s *FileSource) warn(m *Material, now time.Time) {
	for _, l := range m.revocations.unsigned(m.roots) {
		text := "revocation list is of no trusted authority: it says nothing of the certificates of the one that has its name; install that one's"
		if s.strict {
			text = "revocation list is of no trusted authority: certificates of the one that has its name are refused, unless another list is of it; install that one's"
		}
		s.logger.Error(text, "file", s.paths.CRL, "issuer", l.Issuer.String(), "list", strings.TrimSpace(l.numberText()))
	}
	for _, crl := range m.revocations.Stale(now) {
		text := "revocation list is past its next update: it serves on; install a new one"
		if s.strict {
			text = "revocation list is past its next update: its authority's certificates are refused; install a new one"
		}
		s.logger.Warn(text, "issuer", crl.Issuer.String(), "next_update", stamp(crl.NextUpdate))
	}
	if m.certificate != nil && now.Add(expiringSoon).After(m.certificate.Leaf.NotAfter) {
		s.logger.Warn("own certificate ends soon or has ended: install a new one", "file", s.paths.Certificate, "expires", expiryOf(m))
	}
}

func expiryOf(m *Material) string {
	if m.certificate == nil {
		return ""
	}
	return stamp(m.certificate.Leaf.NotAfter)
}
