package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"securechat/auth"
	"securechat/certs"
	"securechat/cmd/chatd/internal/files"
)

// A revocation is one line for a revocations file.
type revocation struct {
	line string
	// covered says whether a file revokes as much already.
	covered func(text []byte, parsed *certs.Revocations) bool
}

func revokeCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "revoke",
		Short: "Revoke a token, a user's tokens or a certificate",
		Long: `Revoke a token, all tokens of a user, or a certificate: one line more in the file
that chatd serve follows as --revocations. Live streams end within a second, and
no new ones begin. What the file revokes already is not written again.

The file must exist. It is changed in its place, its owner and mode stay, and
nothing is written that would not be read as meant.`,
		Example: "chatd revoke user alice --revocations revocations.txt\n" +
			"chatd revoke user alice --before now --revocations revocations.txt\n" +
			"chatd revoke token 3f2a9c --revocations revocations.txt\n" +
			"chatd revoke certificate alice.crt --revocations revocations.txt",
	}
	var path, before string
	c.PersistentFlags().StringVar(&path, "revocations", "", "the file (required)")
	user := revokeOne("user NAME", "Revoke all tokens of a user, or those issued before a time", &path,
		func(name string) (revocation, error) { return revokedUser(name, before, time.Now()) })
	user.Flags().StringVar(&before, "before", "", `only tokens issued before then, such as 2006-01-02T15:04:05Z, or "now"`)
	c.AddCommand(
		revokeOne("token JTI", "Revoke one token, by its jti", &path, revokedToken),
		user,
		revokeOne("certificate FILE|HEX", "Revoke a certificate, by its file or its SHA-256 fingerprint", &path, revokedCertificate),
	)
	return c
}

func revokeOne(use, short string, path *string, read func(string) (revocation, error)) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if *path == "" {
				return usage("--revocations must be given: see %s --help", c.CommandPath())
			}
			r, err := read(args[0])
			if err != nil {
				return err
			}
			if err := r.appendTo(*path); err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), r.line)
			return err
		},
	}
}

// appendTo adds the line, unless the file revokes as much already. A file that
// does not hold, or would not with the line, is left alone.
func (r revocation) appendTo(path string) error {
	return files.AppendLine(path, maxInput, func(text []byte) (string, error) {
		parsed, err := certs.ParseRevocations(text)
		if err != nil {
			return "", fmt.Errorf("%s: %w: chatd does not heed the file as it is; correct it first", path, err)
		}
		if r.covered(text, parsed) {
			return "", nil
		}
		after := append(append([]byte{}, text...), "\n"+r.line+"\n"...)
		if parsed, err = certs.ParseRevocations(after); err != nil || !r.covered(after, parsed) {
			return "", fmt.Errorf("%q would not be read as meant: nothing was written", r.line)
		}
		return r.line, nil
	})
}

func revokedToken(jti string) (revocation, error) {
	if jti == "" {
		return revocation{}, usage("the jti is empty")
	}
	return revocation{
		line:    "jti " + value(jti),
		covered: func(_ []byte, r *certs.Revocations) bool { return r.Token(jti) },
	}, nil
}

func revokedUser(name, before string, now time.Time) (revocation, error) {
	if err := auth.CheckName(name); err != nil {
		return revocation{}, usage("%w", err)
	}
	r := revocation{line: "subject " + value(name)}
	issued := time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
	if before != "" {
		until := now
		if before != "now" {
			var err error
			if until, err = time.Parse(time.RFC3339, before); err != nil {
				return revocation{}, usage("--before: %.100q is not a time such as 2006-01-02T15:04:05Z", before)
			}
		}
		if whole := until.Truncate(time.Second); whole.Before(until) {
			until = whole.Add(time.Second) // a token's iat is cut to seconds
		}
		r.line += " before " + until.UTC().Format(time.RFC3339)
		issued = until.Add(-time.Nanosecond)
	}
	r.covered = func(_ []byte, r *certs.Revocations) bool { return r.Subject(name, issued) }
	return r, nil
}

func revokedCertificate(what string) (revocation, error) {
	fingerprint := strings.ToLower(strings.ReplaceAll(what, ":", ""))
	if !isFingerprint(fingerprint) {
		if _, err := os.Stat(what); errors.Is(err, fs.ErrNotExist) {
			return revocation{}, usage("%.100q is neither a file nor a SHA-256 fingerprint of 64 hexadecimal digits", what)
		}
		certificates, err := certs.LoadCertificates(what)
		if err != nil {
			return revocation{}, err
		}
		sum := certs.Thumbprint(certificates[0])
		fingerprint = hex.EncodeToString(sum[:])
	}
	return revocation{
		line: "certificate " + fingerprint,
		covered: func(text []byte, _ *certs.Revocations) bool {
			for line := range strings.Lines(string(text)) {
				words := strings.Fields(line)
				if len(words) > 1 && words[0] == "certificate" && strings.EqualFold(strings.ReplaceAll(strings.Trim(words[1], `"`), ":", ""), fingerprint) {
					return true
				}
			}
			return false
		},
	}, nil
}

func isFingerprint(text string) bool {
	raw, err := hex.DecodeString(text)
	return err == nil && len(raw) == 32
}

var plainValue = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z._@/+=:-]*$`)

// value writes a value as a revocations file takes it.
func value(text string) string {
	if plainValue.MatchString(text) && !strings.EqualFold(text, "before") {
		return text
	}
	return strconv.Quote(text)
}
