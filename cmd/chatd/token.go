package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"securechat/auth"
	"securechat/certs"
	"securechat/cmd/chatd/internal/files"
)

func tokenCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "token",
		Short: "Make and inspect tokens, for small set-ups",
		Long: `Make and inspect tokens, for development and small set-ups that have no
authorisation server of their own.`,
		Example: "chatd token key --out issuer.key --jwks jwks.json\n" +
			"chatd token mint --key issuer.key --issuer https://issuer.example --audience chat \\\n" +
			"  --user alice --cert alice.crt --out alice.token",
	}
	c.AddCommand(tokenKeyCommand(), tokenJWKSCommand(), tokenMintCommand(), tokenInspectCommand())
	return c
}

func tokenKeyCommand() *cobra.Command {
	var out, jwks string
	c := &cobra.Command{
		Use:   "key",
		Short: "Make a signing key, and the key set that verifies its tokens",
		Long: `Make a private signing key (Ed25519, readable by its owner alone) and the key
set with its public key, for the --jwks of "chatd serve". Nothing is overwritten.`,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := given(c, "out", "jwks"); err != nil {
				return err
			}
			if err := writeSigningKey(out, jwks); err != nil {
				return err
			}
			_, err := fmt.Fprintf(c.OutOrStdout(), "%s\n%s\n", out, jwks)
			return err
		},
	}
	c.Flags().StringVar(&out, "out", "", "file for the private key (required)")
	c.Flags().StringVar(&jwks, "jwks", "", "file for the key set (required)")
	return c
}

func writeSigningKey(out, jwks string) error {
	signer, err := auth.NewSigningKey()
	if err != nil {
		return err
	}
	key, err := signer.PEM()
	if err != nil {
		return err
	}
	set, err := signer.JWKS()
	if err != nil {
		return err
	}
	return files.Create(
		files.File{Path: out, Text: key, Mode: files.Secret},
		files.File{Path: jwks, Text: set, Mode: files.Public},
	)
}

func tokenJWKSCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "jwks KEYFILE...",
		Short: "Print the key set of several signing keys",
		Long: `Print the key set with the public keys of several signing keys. To rotate, put
out a set with the old key and the new one; sign with the new one from then on;
and once the last token of the old one has expired, put out a set without it.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, paths []string) error {
			var signers []*auth.Signer
			for _, path := range paths {
				signer, err := loadSigner(path)
				if err != nil {
					return err
				}
				signers = append(signers, signer)
			}
			set, err := auth.MarshalKeySet(signers...)
			if err != nil {
				return err
			}
			_, err = c.OutOrStdout().Write(set)
			return err
		},
	}
}

func loadSigner(path string) (*auth.Signer, error) {
	key, err := certs.LoadKey(path)
	if err != nil {
		return nil, err
	}
	signer, err := auth.NewSigner(key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return signer, nil
}

// mintRequest is what `token mint` is told.
type mintRequest struct {
	key, certificate, out string
	replace               bool
	lifetime              time.Duration
	scope                 string
	claims                auth.MintClaims
}

func tokenMintCommand() *cobra.Command {
	var request mintRequest
	c := &cobra.Command{
		Use:   "mint",
		Short: "Mint a token for a user",
		Long: `Mint a token for a user and print it, or write it to a file that its owner alone
can read. With --cert it works with that certificate only, which is what "chatd
serve" asks for unless it runs with --bind subject.`,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := given(c, "key", "issuer", "audience", "user"); err != nil {
				return err
			}
			if request.lifetime < time.Second {
				return usage("--lifetime: must be a second or more, such as 1h")
			}
			token, err := request.mint()
			if err != nil {
				return err
			}
			if request.certificate == "" {
				fmt.Fprintln(c.ErrOrStderr(), "the token is not bound to a certificate: only chatd serve --bind subject accepts it; bind it with --cert FILE")
			}
			if request.out == "" {
				_, err = fmt.Fprintln(c.OutOrStdout(), token)
				return err
			}
			return request.write(token)
		},
	}
	flags := c.Flags()
	flags.StringVar(&request.key, "key", "", "file of the private signing key (required)")
	flags.StringVar(&request.claims.Issuer, "issuer", "", "the token's iss (required)")
	flags.StringSliceVar(&request.claims.Audience, "audience", nil, "the token's aud (required)")
	flags.StringVar(&request.claims.Subject, "user", "", "the token's sub: the user's name (required)")
	flags.StringVar(&request.certificate, "cert", "", "file of the certificate to bind the token to")
	flags.StringVar(&request.scope, "scope", "", "the token's scope, with spaces, such as \"chat:read chat:write\"")
	flags.StringSliceVar(&request.claims.Rooms, "rooms", nil, "globs of the rooms that the token opens, with commas")
	flags.DurationVar(&request.lifetime, "lifetime", time.Hour, "how long the token is valid")
	flags.StringVar(&request.out, "out", "", "file for the token; stdout if empty")
	flags.BoolVar(&request.replace, "replace", false, "let --out replace the file")
	return c
}

func (r mintRequest) mint() (string, error) {
	signer, err := loadSigner(r.key)
	if err != nil {
		return "", err
	}
	claims := r.claims
	claims.IssuedAt = time.Now()
	claims.Expires = claims.IssuedAt.Add(r.lifetime)
	claims.Scopes = strings.Fields(r.scope)
	if r.certificate != "" {
		if claims.Confirmation, err = confirmation(r.certificate, claims.Subject); err != nil {
			return "", err
		}
	}
	return signer.Mint(claims)
}

// confirmation returns the thumbprint of the certificate in a file. It refuses a
// certificate that names another user, since no server accepts the two together.
func confirmation(path, user string) (*[32]byte, error) {
	certificates, err := certs.LoadCertificates(path)
	if err != nil {
		return nil, err
	}
	leaf := certificates[0]
	if err := certs.CheckClient(leaf); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if name, err := certs.Identify(leaf, certs.URI, ""); err == nil && name.User != user {
		return nil, fmt.Errorf("%s is the certificate of %q, and the token would be %q's: no server accepts the two together", path, name.User, user)
	}
	thumbprint := certs.Thumbprint(leaf)
	return &thumbprint, nil
}

func (r mintRequest) write(token string) error {
	file := files.File{Path: r.out, Text: []byte(token + "\n"), Mode: files.Secret}
	if r.replace {
		return file.Replace()
	}
	return files.Create(file)
}
