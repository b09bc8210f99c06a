package auth

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
)

// rowsOfTheMatrix are its events, by their first words, and the reason with which
// each ends a stream; "" where none does, or the policy says.
var rowsOfTheMatrix = map[string]Reason{
	"token expires, not refreshed":                TokenExpired,
	"token (jti) revoked":                         TokenRevoked,
	"subject revoked":                             TokenRevoked,
	"certificate expires":                         CertificateExpired,
	"a certificate of its chain expires":          CertificateExpired,
	"certificate revoked (CRL)":                   CertificateRevoked,
	"certificate revoked (revocations file)":      CertificateRevoked,
	"the revocation list of its issuer is past":   CertificateRevoked,
	"its CA leaves the trust bundle":              CertificateUntrusted,
	"the signing key leaves the JWKS":             TokenKeyRetired,
	"the keys fetched from a URL are too old":     KeysUnavailable,
	"the longest session is reached":              SessionExpired,
	"ended by an operator":                        Expelled,
	"the policy changes":                          "",
	"expelled from the room":                      Expelled,
	"a member of a room is refreshed without":     ScopeMissing,
	"a member of a room reads too slowly":         SlowConsumer,
	"messages come too fast for a room":           "",
	"token refreshed in time":                     "",
	"a refresh is refused":                        "",
	"server certificate, roots, CRL, JWKS or pol": "",
	"a replacement file is broken":                "",
	"the issuer cannot be reached":                "",
	"the server drains (SIGTERM)":                 Draining,
}

// The matrix has all of its rows and no others, each ends streams as it should,
// and names tests, which exist.
func TestTheMatrixIsProven(t *testing.T) {
	text, err := os.ReadFile("../docs/authority.md")
	if err != nil {
		t.Fatal(err)
	}
	tests := testsOfTheModule(t)
	name, reason := regexp.MustCompile("`(Test\\w+)`"), regexp.MustCompile(`([A-Z_]+), ([A-Z]+_?[A-Z_]+)`)
	seen := make(map[string]bool)
	for line := range strings.Lines(string(text)) {
		for _, named := range name.FindAllStringSubmatch(line, -1) {
			if !tests[named[1]] {
				t.Errorf("there is no test %s", named[1])
			}
		}
		row := strings.Split(strings.TrimSpace(line), "|")
		if len(row) != 6 || row[1] == " event " || strings.HasPrefix(row[1], "-") {
			continue
		}
		event, known := eventOf(strings.TrimSpace(row[1]))
		if !known || seen[event] {
			t.Errorf("a row is not known, or there twice: %q", row[1])
			continue
		}
		seen[event] = true
		if !name.MatchString(row[4]) {
			t.Errorf("no test is named by the row %q", row[1])
		}
		want := ""
		if r := rowsOfTheMatrix[event]; r != "" {
			want = codeName(r.Code()) + ", " + string(r)
		}
		if got := reason.FindString(row[3]); got != want {
			t.Errorf("%s: ends with %q, want %q", event, got, want)
		}
	}
	for event := range rowsOfTheMatrix {
		if !seen[event] {
			t.Errorf("there is no row %q", event)
		}
	}
}

// refusesOnly are the reasons that end no stream of which the matrix speaks: calls
// are refused with them, single messages are at fault, or a policy that changes has
// its say.
var refusesOnly = []Reason{
	CertificateMissing, CertificateInvalid, TokenMissing, TokenAmbiguous, TokenScheme, TokenTooLarge, TokenMalformed, TokenType,
	TokenAlgorithm, TokenCritical, TokenKeyUnknown, TokenSignature, TokenIssuer, TokenAudience, TokenNotYetValid, TokenLifetime,
	TokenSubject, TokenUnbound, TokenBinding, MethodDenied, RoomDenied, HandshakeFailed, TooManyStreams, TooManyConnections,
	MessageTooLarge, MessageInvalid, MessageCompressed, LogUnavailable, RoomInvalid, CursorInvalid, CursorGone, Internal,
}

// A reason that is new ends a stream, and has a row, unless it is known not to.
func TestTheMatrixHasEveryCut(t *testing.T) {
	cuts := slices.Collect(maps.Values(rowsOfTheMatrix))
	for reason := range rules {
		if slices.Contains(cuts, reason) == slices.Contains(refusesOnly, reason) {
			t.Errorf("%s: the matrix needs a row, or it is no reason to cut", reason)
		}
	}
}

func eventOf(text string) (event string, known bool) {
	for event := range rowsOfTheMatrix {
		if strings.HasPrefix(text, event) {
			return event, true
		}
	}
	return "", false
}

// codeName is a status code as documents write it.
func codeName(c codes.Code) string {
	return strings.ToUpper(regexp.MustCompile(`([a-z])([A-Z])`).ReplaceAllString(c.String(), "${1}_$2"))
}

func testsOfTheModule(t *testing.T) map[string]bool {
	t.Helper()
	tests := make(map[string]bool)
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && path != ".." && strings.HasPrefix(entry.Name(), ".") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, match := range declared.FindAllSubmatch(text, -1) {
			tests[string(match[1])] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tests
}
