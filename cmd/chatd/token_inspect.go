package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"securechat/auth"
	"securechat/cmd/internal/cli"
)

// maxToken is how large a token may be, in bytes.
const maxToken = 8 << 10

// token is what can be shown of a token: never its signature.
type token struct {
	Header   json.RawMessage `json:"header"`
	Claims   json.RawMessage `json:"claims"`
	Expires  string          `json:"expires,omitempty"` // RFC 3339
	Verified bool            `json:"verified"`
}

func tokenInspectCommand() *cobra.Command {
	var jwks string
	asJSON := false
	c := &cobra.Command{
		Use:   "inspect [FILE]",
		Short: "Show what a token claims, and with --jwks whether it is genuine",
		Long: `Show the header and the claims of a token, from a file or, without one, from
stdin. Its signature is never shown. Without --jwks nothing is verified; with it,
the exit code is 0 for a token that is genuine and valid now, 4 for another, and 3
where the key set cannot be fetched.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			compact, err := readToken(c, args)
			if err != nil {
				return err
			}
			shown, err := readTokenParts(compact)
			if err != nil {
				return err
			}
			if jwks != "" {
				if err := verifyToken(c.Context(), compact, shown, jwks); err != nil {
					return err
				}
				shown.Verified = true
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), []token{*shown})
			}
			return shown.print(c.OutOrStdout(), time.Now())
		},
	}
	c.Flags().StringVar(&jwks, "jwks", "", "file or https URL of the issuer's key set")
	c.Flags().BoolVar(&asJSON, "json", false, "one object")
	return c
}

func readToken(c *cobra.Command, args []string) (string, error) {
	name := stdin
	if len(args) == 1 {
		name = args[0]
	}
	if strings.HasPrefix(name, "eyJ") && strings.Count(name, ".") == 2 {
		return "", usage("a token is a secret and does not belong on the command line, where others can see it: pipe it in, or name its file")
	}
	text, err := readInput(c, name)
	if err != nil {
		return "", err
	}
	compact := strings.TrimSpace(string(text))
	if len(compact) > maxToken {
		return "", fmt.Errorf("the token is larger than %d KiB, which no server accepts", maxToken>>10)
	}
	return compact, nil
}

var errNoToken = errors.New("this is not a token: one has three parts in base64url with dots between them, the first two JSON objects")

func readTokenParts(compact string) (*token, error) {
	parts := strings.Split(compact, ".")
	if len(parts) != 3 {
		return nil, errNoToken
	}
	var objects [2]json.RawMessage
	for i := range objects {
		text, err := base64.RawURLEncoding.Strict().DecodeString(parts[i])
		if err != nil || !json.Valid(text) || !bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
			return nil, errNoToken
		}
		objects[i] = text
	}
	t := &token{Header: objects[0], Claims: objects[1]}
	if expires, ok := t.date("exp"); ok {
		t.Expires = day(expires)
	}
	return t, nil
}

// claim reads one claim; it is nil where there is none. Of duplicates, which
// every verifier here refuses, it is the last.
func (t *token) claim(name string) any {
	var claims map[string]any
	if err := json.Unmarshal(t.Claims, &claims); err != nil {
		return nil
	}
	return claims[name]
}

func (t *token) date(name string) (time.Time, bool) {
	seconds, ok := t.claim(name).(float64)
	const year9999 = 253402300799
	if !ok || math.IsNaN(seconds) || seconds < 0 || seconds > year9999 {
		return time.Time{}, false
	}
	return time.Unix(int64(seconds), 0), true
}

// verifyToken holds the token against the key set and the clock. Issuer and
// audience are taken from the token itself: whether they are the right ones is
// for the server that it is meant for.
func verifyToken(ctx context.Context, compact string, t *token, jwks string) error {
	issuer, _ := t.claim("iss").(string)
	audience, _ := t.claim("aud").(string)
	if list, ok := t.claim("aud").([]any); ok && len(list) > 0 {
		audience, _ = list[0].(string)
	}
	if issuer == "" || audience == "" {
		return errors.New("not valid: the token has no iss or no aud")
	}
	keys, err := auth.Keys(jwks)
	if err != nil {
		return fmt.Errorf("--jwks: %w", err)
	}
	defer keys.Close()
	verifier, err := auth.NewVerifier(auth.VerifierConfig{
		Issuers:     []auth.Issuer{{Name: issuer, Audience: audience, Keys: keys, Algorithms: []string{"EdDSA", "ES256", "RS256", "PS256"}}},
		MaxLifetime: math.MaxInt64,
	})
	if err != nil {
		return err
	}
	if _, err := verifier.Verify(ctx, compact); err != nil {
		return fmt.Errorf("not valid: %w", err)
	}
	return nil
}

func (t *token) print(w io.Writer, now time.Time) error {
	for _, part := range []struct {
		name string
		text json.RawMessage
	}{{"header", t.Header}, {"claims", t.Claims}} {
		var indented bytes.Buffer
		if err := json.Indent(&indented, part.text, "", "  "); err != nil {
			return err
		}
		fmt.Fprintln(w, part.name)
		for line := range strings.SplitSeq(indented.String(), "\n") {
			fmt.Fprintln(w, cli.Printable(line))
		}
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "expires\t%s\n", t.expiry(now))
	fmt.Fprintf(table, "bound\t%s\n", t.binding())
	fmt.Fprintf(table, "verified\t%s\n", t.verification())
	return table.Flush()
}

func (t *token) expiry(now time.Time) string {
	expires, ok := t.date("exp")
	switch {
	case !ok:
		return "never, or not well-formed: no server here accepts that"
	case !expires.After(now):
		return relative(expires, now) + ", at " + day(expires) + ": EXPIRED"
	}
	return relative(expires, now) + ", at " + day(expires)
}

func (t *token) binding() string {
	confirmation, ok := t.claim("cnf").(map[string]any)
	if !ok {
		return "no"
	}
	if thumbprint, ok := confirmation["x5t#S256"].(string); ok {
		return cli.Printable("to the certificate with x5t#S256 " + thumbprint)
	}
	return "to something other than a certificate: no server here accepts that"
}

func (t *token) verification() string {
	if t.Verified {
		return "yes: the signature is by a key of the set, and the token is valid now"
	}
	return "no: anyone can have written this; --jwks verifies it"
}
