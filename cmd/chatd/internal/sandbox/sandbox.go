// Package sandbox keeps on disk what a try-out on one machine needs: an
// authority, a server's certificate, a token issuer, and users with a
// certificate, a token and a client context each. What is there and still good
// is used again; what is about to expire is made anew.
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/adrg/xdg"

	"securechat/auth"
	"securechat/certs"
	"securechat/cmd/chatd/internal/files"
	"securechat/cmd/chatd/internal/settings"
	"securechat/cmd/internal/contexts"
)

const (
	// Issuer and Audience are in every token of a sandbox.
	Issuer   = "chatd-dev"
	Audience = "securechat-dev"
	// ServerName is the name in the server's certificate that clients ask for,
	// whichever loopback address they dial.
	ServerName = "localhost"

	managedBy = "chatd dev"
	// otherPrefix goes before the name of a context where a person has one of that name.
	otherPrefix = "dev-"

	tokenLifetime = 24 * time.Hour
	tokenRenewal  = tokenLifetime / 2
	// renewBefore is how long before its end a certificate is replaced.
	renewBefore = 24 * time.Hour
)

// A User is one who can log in to the server at once.
type User struct {
	Name             string
	Certificate, Key string // files
	Token            string // file
	Context          string // the client context; empty until SaveContexts
	thumbprint       [32]byte
}

// A Sandbox is a folder that is ready for use.
type Sandbox struct {
	dir    string
	ca     *certs.CA
	signer *auth.Signer
	users  []*User
}

// DefaultDir is where the sandbox of the user who runs the program is.
func DefaultDir() string {
	home := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(home) { // as the XDG Base Directory Specification asks
		home = xdg.StateHome
	}
	return filepath.Join(home, "securechat", "dev")
}

// Open makes the sandbox in a folder, or uses the one that is there, with these
// users. Their tokens are new.
func Open(dir string, users ...string) (*Sandbox, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("find the folder %s: %w", dir, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of the sandbox: %w: choose another with --state", err)
	}
	s := &Sandbox{dir: dir}
	if err := s.open(users); err != nil {
		return nil, fmt.Errorf("%w: to begin anew, remove the folder %s", err, dir)
	}
	return s, nil
}

func (s *Sandbox) open(users []string) error {
	if err := s.openAuthority(); err != nil {
		return err
	}
	if err := s.openIssuer(); err != nil {
		return err
	}
	_, err := s.pair("server", func() (*certs.Issued, error) {
		return s.ca.IssueServer([]string{ServerName, "127.0.0.1", "::1"}, certs.IssueOptions{})
	})
	if err != nil {
		return err
	}
	for _, name := range users {
		leaf, err := s.pair(name, func() (*certs.Issued, error) { return s.ca.IssueUser(name, certs.IssueOptions{}) })
		if err != nil {
			return err
		}
		s.users = append(s.users, &User{
			Name:        name,
			Certificate: s.path(name + ".crt"),
			Key:         s.path(name + ".key"),
			Token:       s.path(name + ".token"),
			thumbprint:  leaf,
		})
	}
	return s.MintTokens()
}

// openAuthority makes the authority where there is none, or none that lasts.
func (s *Sandbox) openAuthority() (err error) {
	dir := s.path("ca")
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		s.ca, err = certs.InitCA(dir, certs.CAOptions{Name: "chatd dev CA"})
		return err
	}
	if s.ca, err = certs.OpenCA(dir); err != nil {
		return err
	}
	if lasts(s.ca.Certificate().NotAfter) {
		return nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("replace the authority: %w", err)
	}
	s.ca, err = certs.InitCA(dir, certs.CAOptions{Name: "chatd dev CA"})
	return err
}

// openIssuer makes the signing key where there is none, and the key set anew.
func (s *Sandbox) openIssuer() error {
	path := s.path("issuer.key")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		fresh, err := auth.NewSigningKey()
		if err != nil {
			return err
		}
		key, err := fresh.PEM()
		if err != nil {
			return err
		}
		if err := files.Create(files.File{Path: path, Text: key, Mode: files.Secret}); err != nil {
			return err
		}
	}
	key, err := certs.LoadKey(path)
	if err != nil {
		return err
	}
	if s.signer, err = auth.NewSigner(key); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	set, err := s.signer.JWKS()
	if err != nil {
		return err
	}
	return files.File{Path: s.JWKS(), Text: set, Mode: files.Public}.Replace()
}

// pair returns the thumbprint of the certificate called name. It issues a new
// one where there is none with its key, where it does not last, and where it is
// another authority's.
func (s *Sandbox) pair(name string, issue func() (*certs.Issued, error)) ([32]byte, error) {
	certificate, key := s.path(name+".crt"), s.path(name+".key")
	if exists(certificate) && exists(key) {
		pair, err := certs.LoadKeyPair(certificate, key)
		if err != nil {
			return [32]byte{}, err
		}
		if lasts(pair.Leaf.NotAfter) && pair.Leaf.CheckSignatureFrom(s.ca.Certificate()) == nil {
			return certs.Thumbprint(pair.Leaf), nil
		}
	}
	for _, old := range []string{certificate, key} {
		if err := os.Remove(old); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return [32]byte{}, fmt.Errorf("replace the certificate of %s: %w", name, err)
		}
	}
	issued, err := issue()
	if err != nil {
		return [32]byte{}, err
	}
	return certs.Thumbprint(issued.Certificate()), issued.WriteFiles(certificate, key)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func lasts(notAfter time.Time) bool { return time.Until(notAfter) > renewBefore }

// MintTokens gives every user a new token, bound to the user's certificate.
func (s *Sandbox) MintTokens() error {
	now := time.Now()
	for _, u := range s.users {
		token, err := s.signer.Mint(auth.MintClaims{
			Issuer: Issuer, Audience: []string{Audience}, Subject: u.Name,
			IssuedAt: now, Expires: now.Add(tokenLifetime),
			Scopes: []string{"chat:read", "chat:write"}, Rooms: []string{"*", "@*"},
			Confirmation: &u.thumbprint,
		})
		if err != nil {
			return err
		}
		if err := (files.File{Path: u.Token, Text: []byte(token + "\n"), Mode: files.Secret}).Replace(); err != nil {
			return err
		}
	}
	return nil
}

// KeepTokens mints new tokens before the old ones expire, until ctx ends.
func (s *Sandbox) KeepTokens(ctx context.Context, log *slog.Logger) {
	ticker := time.NewTicker(tokenRenewal)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if err := s.MintTokens(); err != nil {
				log.Error("tokens not renewed: they expire within hours", slog.Any("error", err))
			}
		}
	}
}

// Settings returns the settings of a service on the sandbox's files.
func (s *Sandbox) Settings() settings.Settings {
	service := settings.Defaults()
	service.TLSCert, service.TLSKey = s.path("server.crt"), s.path("server.key")
	service.ClientCA = s.CA()
	service.CRL = s.path("ca", "crl.pem")
	service.TrustDomain = s.ca.TrustDomain()
	service.JWKS = s.JWKS()
	service.Issuer, service.Audience = Issuer, Audience
	service.MaxTokenLifetime = tokenLifetime
	service.Data = s.path("rooms")
	return service
}

// Dir is the folder of the sandbox. All paths are absolute.
func (s *Sandbox) Dir() string { return s.dir }

// CA is the file of the authority's certificate.
func (s *Sandbox) CA() string { return s.path("ca", "ca.crt") }

// JWKS is the file of the issuer's key set.
func (s *Sandbox) JWKS() string { return s.path("jwks.json") }

// Users returns the users in the order in which Open had them.
func (s *Sandbox) Users() []*User { return s.users }

func (s *Sandbox) path(elements ...string) string {
	return filepath.Join(append([]string{s.dir}, elements...)...)
}

// SaveContexts gives each user a client context for the server, and makes the
// first user's current unless a person has chosen another. It replaces only
// contexts of its own: where a person's has the name, "dev-" goes before it. It
// returns the name of the current context.
func (s *Sandbox) SaveContexts(store contexts.Store, server string) (current string, err error) {
	for _, u := range s.users {
		if u.Context, err = s.saveContext(store, u, server); err != nil {
			return "", err
		}
	}
	current, err = store.Current()
	if err != nil {
		return "", err
	}
	if current != "" {
		chosen, err := store.Load(current)
		if err == nil && chosen.ManagedBy != managedBy {
			return current, nil
		}
		if err != nil && !errors.Is(err, contexts.ErrNotFound) {
			return "", err
		}
	}
	return s.users[0].Context, store.SetCurrent(s.users[0].Context)
}

// Displaced returns the folder of another sandbox to whose server the users' contexts
// lead until SaveContexts is called; empty where they do not.
func (s *Sandbox) Displaced(store contexts.Store) (dir string) {
	for _, u := range s.users {
		for _, name := range []string{u.Name, otherPrefix + u.Name} {
			if c, err := store.Load(name); err == nil && c.ManagedBy == managedBy && c.CA != s.CA() {
				return filepath.Dir(filepath.Dir(c.CA))
			}
		}
	}
	return ""
}

func (s *Sandbox) saveContext(store contexts.Store, u *User, server string) (string, error) {
	details := contexts.Context{
		Server: server, ServerName: ServerName,
		CA: s.CA(), Cert: u.Certificate, Key: u.Key, TokenFile: u.Token,
		ManagedBy: managedBy,
	}
	name := u.Name
	if taken, err := store.Load(name); err == nil && taken.ManagedBy != managedBy {
		name = otherPrefix + name
	}
	return name, store.Save(name, details, false)
}
