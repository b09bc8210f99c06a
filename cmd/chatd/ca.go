package main

import (
	"fmt"
	"math/big"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"securechat/certs"
	"securechat/cmd/internal/cli"
)

func caCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "ca",
		Short: "Make and run a small certificate authority",
		Long: `Make and run a certificate authority for development and small set-ups: a folder
with its certificate (ca.crt), its key (ca.key) and its revocation list (crl.pem).
All keys are ECDSA P-256 and readable by their owner alone. Nothing is overwritten.`,
		Example: "chatd ca init --dir ca\n" +
			"chatd ca issue --dir ca --server chat.example,127.0.0.1 --out server\n" +
			"chatd ca issue --dir ca --user alice --out alice",
	}
	c.AddCommand(caInitCommand(), caIssueCommand(), caRevokeCommand(), caInspectCommand())
	return c
}

func caInitCommand() *cobra.Command {
	var dir string
	var options certs.CAOptions
	c := &cobra.Command{
		Use:   "init",
		Short: "Make an authority",
		RunE: func(c *cobra.Command, _ []string) error {
			if err := given(c, "dir"); err != nil {
				return err
			}
			if options.Lifetime <= 0 {
				return usage("--lifetime: must be longer than nothing, such as 8760h")
			}
			ca, err := certs.InitCA(dir, options)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s\nuntil %s, trust domain %s\n",
				filepath.Join(dir, "ca.crt"), day(ca.Certificate().NotAfter), ca.TrustDomain())
			return err
		},
	}
	flags := c.Flags()
	flags.StringVar(&dir, "dir", "", "folder of the authority (required)")
	flags.StringVar(&options.Name, "name", certs.DefaultCAName, "common name of its certificate")
	flags.StringVar(&options.TrustDomain, "trust-domain", certs.DefaultTrustDomain, "name that begins the identities of its users, as in spiffe://NAME/user/alice")
	flags.DurationVar(&options.Lifetime, "lifetime", certs.DefaultCALifetime, "how long its certificate is valid")
	return c
}

// issueRequest is what `ca issue` is told.
type issueRequest struct {
	dir, user, out string
	hosts          []string
	options        certs.IssueOptions
}

func caIssueCommand() *cobra.Command {
	var request issueRequest
	c := &cobra.Command{
		Use:   "issue",
		Short: "Issue a certificate for a server or a user",
		Long: `Issue a certificate and its key, BASE.crt and BASE.key. A server's is for the
hosts that clients dial; a user's has the identity
spiffe://TRUST DOMAIN/user/NAME.`,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := given(c, "dir", "out"); err != nil {
				return err
			}
			issued, err := request.issue(c)
			if err != nil {
				return err
			}
			certificate := request.out + ".crt"
			if err := issued.WriteFiles(certificate, request.out+".key"); err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s\n%s\nuntil %s\n", certificate, request.out+".key", day(issued.Certificate().NotAfter))
			return err
		},
	}
	flags := c.Flags()
	flags.StringVar(&request.dir, "dir", "", "folder of the authority (required)")
	flags.StringSliceVar(&request.hosts, "server", nil, "hosts of a server: DNS names and IP addresses, with commas")
	flags.StringVar(&request.user, "user", "", "name of a user")
	flags.StringVar(&request.out, "out", "", "base of the two files' names (required)")
	flags.DurationVar(&request.options.Lifetime, "lifetime", 0, fmt.Sprintf("how long it is valid (default %v for a server, %v for a user)", certs.DefaultServerLifetime, certs.DefaultUserLifetime))
	return c
}

func (r issueRequest) issue(c *cobra.Command) (*certs.Issued, error) {
	forServer, forUser := c.Flags().Changed("server"), c.Flags().Changed("user")
	switch {
	case forServer == forUser:
		return nil, usage("say whom the certificate is for: either --server HOST[,HOST] or --user NAME")
	case c.Flags().Changed("lifetime") && r.options.Lifetime <= 0:
		return nil, usage("--lifetime: must be longer than nothing, such as 2160h")
	}
	ca, err := certs.OpenCA(r.dir)
	if err != nil {
		return nil, err
	}
	if forServer {
		return ca.IssueServer(r.hosts, r.options)
	}
	return ca.IssueUser(r.user, r.options)
}

// The names of CRLReason (RFC 5280 section 5.3.1).
func reasons() map[string]certs.Reason {
	return map[string]certs.Reason{
		"unspecified":          certs.Unspecified,
		"keyCompromise":        certs.KeyCompromise,
		"affiliationChanged":   certs.AffiliationChanged,
		"superseded":           certs.Superseded,
		"cessationOfOperation": certs.CessationOfOperation,
		"privilegeWithdrawn":   certs.PrivilegeWithdrawn,
	}
}

func caRevokeCommand() *cobra.Command {
	var dir, serial, reason string
	c := &cobra.Command{
		Use:   "revoke --dir FOLDER (FILE | --serial HEX)",
		Short: "Revoke a certificate: put it on the authority's revocation list",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := given(c, "dir"); err != nil {
				return err
			}
			why, known := reasons()[reason]
			if !known {
				return usage("--reason: %.100q is none: see chatd ca revoke --help", reason)
			}
			if (len(args) == 1) == (serial != "") {
				return usage("say what to revoke: either a certificate's file or --serial HEX")
			}
			ca, err := certs.OpenCA(dir)
			if err != nil {
				return err
			}
			if err := revoke(ca, args, serial, why); err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), filepath.Join(dir, "crl.pem"))
			return err
		},
	}
	flags := c.Flags()
	flags.StringVar(&dir, "dir", "", "folder of the authority (required)")
	flags.StringVar(&serial, "serial", "", "serial number in hexadecimal, as chatd ca inspect shows it")
	flags.StringVar(&reason, "reason", "unspecified", "unspecified, keyCompromise, affiliationChanged, superseded, cessationOfOperation or privilegeWithdrawn")
	return c
}

func revoke(ca *certs.CA, files []string, serial string, why certs.Reason) error {
	if serial != "" {
		number, ok := new(big.Int).SetString(strings.ReplaceAll(serial, ":", ""), 16)
		if !ok || number.Sign() <= 0 {
			return usage("--serial: %.100q is not a serial number in hexadecimal", serial)
		}
		return ca.RevokeSerial(number, why)
	}
	certificates, err := certs.LoadCertificates(files[0])
	if err != nil {
		return err
	}
	return ca.Revoke(certificates[0], why)
}

// given returns an error of usage unless the flags have values.
func given(c *cobra.Command, names ...string) error {
	var missing []string
	for _, name := range names {
		if flag := c.Flags().Lookup(name); flag.Value.String() == "" {
			missing = append(missing, "--"+name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return usage("%s must be given: see %s --help", strings.Join(missing, " and "), c.CommandPath())
}

func usage(format string, args ...any) error {
	return cli.Exit(cli.Usage, fmt.Errorf(format, args...))
}

func day(t time.Time) string { return t.UTC().Format(time.RFC3339) }
