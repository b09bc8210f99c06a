package main

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"securechat/certs"
	"securechat/client"
	"securechat/cmd/internal/cli"
)

func whoamiCommand(where *settings) *cobra.Command {
	var asJSON bool
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "whoami",
		Short: "Show your certificate, your token, and what the server makes of them",
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print it as a JSON object on a line")
	c.Flags().DurationVar(&timeout, "timeout", defaultTimeout, "longest wait for the server")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := checkTimeout(timeout); err != nil {
			return err
		}
		target, err := where.resolve()
		if err != nil {
			return err
		}
		token, err := client.TokenFile(target.TokenFile).Token(c.Context())
		if err != nil {
			return err
		}
		session, err := connect(c.Context(), target, c.ErrOrStderr(), nil)
		if err != nil {
			return err
		}
		defer session.Close()
		report, refusal, err := report(c.Context(), session, target.Server, token, timeout)
		if err != nil {
			return err
		}
		if asJSON {
			err = encoder(c.OutOrStdout())(report)
		} else {
			err = report.print(c.OutOrStdout(), time.Now())
		}
		return errors.Join(refusal, err)
	}
	return c
}

// identity is what `whoami --json` prints. Its names are stable.
type identity struct {
	Certificate *certs.CertificateReport `json:"certificate"`
	Token       claims                   `json:"token"`
	Server      admission                `json:"server"`
}

// admission is what the server makes of a certificate and a token.
type admission struct {
	Address  string    `json:"address"`
	Admitted bool      `json:"admitted"`
	User     string    `json:"user,omitempty"`
	Expires  time.Time `json:"expires,omitzero"`
	Reason   string    `json:"reason,omitempty"`
	Error    string    `json:"error,omitempty"`
}

// report looks at all three. That the server does not admit is in the report
// and beside it.
func report(ctx context.Context, s *session, server, token string, timeout time.Duration) (who identity, refusal, err error) {
	leaf := s.source.Material().Certificate().Leaf
	found, err := certs.Inspect(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw}))
	if err != nil {
		return identity{}, nil, err
	}
	who.Certificate = found[0].Certificate
	who.Token = readClaims(token, who.Certificate.Thumbprint)
	who.Server.Address = server
	stream, refusal := s.open(ctx, timeout)
	if refusal != nil {
		who.Server.Error = refusal.Error()
		var answer *client.Error
		if errors.As(refusal, &answer) {
			who.Server.Reason = string(answer.Reason)
		}
		return who, refusal, nil
	}
	defer stream.Close()
	who.Server.Admitted, who.Server.User, who.Server.Expires = true, stream.User(), stream.Expires()
	return who, nil, nil
}

// print writes the report for people. Lines without a value are left out.
func (i identity) print(w io.Writer, now time.Time) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(section, name, value string) {
		if value != "" {
			fmt.Fprintf(table, "%s\t%s\t%s\n", section, name, cli.Printable(value))
		}
	}
	c := i.Certificate
	line("certificate", "identity", first(c.Identity, strings.Join(append(c.DNS, c.Emails...), ", "), "none: "+c.NoIdentity))
	line("", "subject", c.Subject)
	line("", "issued by", c.Issuer)
	line("", "valid", fmt.Sprintf("from %s, %s", c.NotBefore.UTC().Format(time.RFC3339), until(c.NotAfter, now)))
	line("", "thumbprint", c.Thumbprint)
	if i.Token.Problem != "" {
		line("token", "unreadable", i.Token.Problem)
	} else {
		line("token", "subject", first(i.Token.Subject, "none"))
		line("", "issued by", i.Token.Issuer)
		line("", "audience", strings.Join(i.Token.Audience, ", "))
		line("", "id", i.Token.ID)
		line("", "scope", i.Token.Scope)
		line("", "rooms", strings.Join(i.Token.Rooms, ", "))
		line("", "valid", until(i.Token.Expires, now))
		line("", "bound", bindings[i.Token.Bound])
	}
	if i.Server.Admitted {
		line("server", "address", i.Server.Address)
		line("", "admits you as", first(i.Server.User, "somebody"))
		line("", "valid", until(i.Server.Expires, now))
	} else {
		line("server", "address", i.Server.Address)
		line("", "admits you", "no")
	}
	return table.Flush()
}

var bindings = map[string]string{
	boundHere:  "to this certificate",
	boundOther: "to another certificate",
	boundNone:  "to no certificate",
}

func first(values ...string) string {
	for _, value := range values {
		if value != "" {
			return value
		}
	}
	return ""
}

// until says when, and how far that is from now.
func until(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	at := "until " + t.UTC().Format(time.RFC3339)
	if left := t.Sub(now); left > 0 {
		return at + " (for another " + span(left) + ")"
	}
	return at + " (expired " + span(now.Sub(t)) + " ago)"
}

// span is a duration in the largest unit of which there are two.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	for _, unit := range []struct {
		length time.Duration
		name   string
	}{{day, "days"}, {time.Hour, "hours"}, {time.Minute, "minutes"}} {
		if d >= 2*unit.length {
			return fmt.Sprintf("%d %s", d/unit.length, unit.name)
		}
	}
	return fmt.Sprintf("%d seconds", d/time.Second)
}
