package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"securechat/certs"
	"securechat/cmd/internal/cli"
)

// inspected is one certificate or revocation list, as JSON has it.
type inspected struct {
	File string `json:"file"`
	certs.Report
}

func caInspectCommand() *cobra.Command {
	asJSON := false
	c := &cobra.Command{
		Use:   "inspect FILE...",
		Short: "Show what certificates and revocation lists hold",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, files []string) error {
			var reports []inspected
			for _, file := range files {
				text, err := readInput(c, file)
				if err != nil {
					return err
				}
				found, err := certs.Inspect(text)
				if err != nil {
					return fmt.Errorf("%s: %w", file, err)
				}
				for _, report := range found {
					reports = append(reports, inspected{File: file, Report: report})
				}
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), reports)
			}
			return printReports(c.OutOrStdout(), reports, time.Now())
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "one object a line")
	return c
}

func printReports(w io.Writer, reports []inspected, now time.Time) error {
	for i, r := range reports {
		if i > 0 {
			fmt.Fprintln(w)
		}
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		row := func(name, value string) {
			if value != "" {
				fmt.Fprintf(table, "%s\t%s\n", name, cli.Printable(value))
			}
		}
		row("file", r.File)
		if r.Certificate != nil {
			certificateRows(row, r.Certificate, now)
		} else {
			listRows(row, r.CRL, now)
		}
		if err := table.Flush(); err != nil {
			return err
		}
	}
	return nil
}

func certificateRows(row func(name, value string), c *certs.CertificateReport, now time.Time) {
	kind := "certificate"
	if c.CA {
		kind = "certificate of an authority"
	}
	row("kind", kind)
	row("subject", c.Subject)
	row("issuer", c.Issuer)
	row("serial", c.Serial)
	row("valid", validity(c.NotBefore, c.NotAfter, now))
	row("key", c.Key)
	row("usages", strings.Join(c.Usages, ", "))
	row("identity", c.Identity)
	row("user", c.User)
	row("no identity", c.NoIdentity)
	row("uri", strings.Join(c.URIs, ", "))
	row("dns", strings.Join(c.DNS, ", "))
	row("ip", strings.Join(c.IPs, ", "))
	row("email", strings.Join(c.Emails, ", "))
	row("sha256", c.SHA256)
	row("x5t#S256", c.Thumbprint)
}

func listRows(row func(name, value string), crl *certs.CRLReport, now time.Time) {
	row("kind", "revocation list")
	row("issuer", crl.Issuer)
	row("number", crl.Number)
	row("this update", day(crl.ThisUpdate))
	if !crl.NextUpdate.IsZero() {
		row("next update", day(crl.NextUpdate)+" ("+relative(crl.NextUpdate, now)+")")
	}
	if len(crl.Revoked) == 0 {
		row("revoked", "nothing")
	}
	for _, r := range crl.Revoked {
		row("revoked", fmt.Sprintf("%s at %s, %s", r.Serial, day(r.At), reasonName(r.Reason)))
	}
}

func reasonName(reason certs.Reason) string {
	for name, value := range reasons() {
		if value == reason {
			return name
		}
	}
	return fmt.Sprintf("reason %d", int(reason))
}

// validity says from when to when, and what that means now.
func validity(notBefore, notAfter, now time.Time) string {
	meaning := "expires " + relative(notAfter, now)
	switch {
	case now.Before(notBefore):
		meaning = "not valid yet: begins " + relative(notBefore, now)
	case now.After(notAfter):
		meaning = "EXPIRED " + relative(notAfter, now)
	}
	return day(notBefore) + " to " + day(notAfter) + " (" + meaning + ")"
}

// relative is t as seen from now, in words, in the two largest units.
func relative(t, now time.Time) string {
	d := t.Sub(now)
	if d < 0 {
		return span(-d) + " ago"
	}
	return "in " + span(d)
}

func span(d time.Duration) string {
	days := int(d / (24 * time.Hour))
	switch {
	case days >= 2:
		return fmt.Sprintf("%d days", days)
	case d >= time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	case d >= time.Minute:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%d s", int(d.Seconds()))
}
