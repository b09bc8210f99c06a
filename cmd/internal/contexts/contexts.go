// Package contexts keeps named client contexts on disk: which server to talk to
// and with which files.
//
// Each context is a YAML file, NAME.yaml, in one folder, by default
// $XDG_CONFIG_HOME/securechat/contexts. The file "current" beside them holds the
// name of the one that is used where none is named. A context holds paths and
// no secrets; yet the folder is its owner's alone, since who can write there
// chooses the server.
package contexts

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/knadh/koanf/parsers/yaml"
)

// A Context is what a client needs to reach a server. Paths are absolute.
type Context struct {
	Server     string // host:port
	ServerName string // the name in the server's certificate; empty: the host
	CA         string // file of the roots that the server's certificate must lead to
	Cert       string // file of the client's certificate
	Key        string // file of its private key
	TokenFile  string // file of the bearer token
	// ManagedBy names the program that wrote the context and may replace it;
	// empty for those that people made.
	ManagedBy string
}

// The keys of a context's file. The first six are also the names of flags and,
// as CHAT_TLS_CA and so on, of environment variables.
const (
	KeyServer     = "server"
	KeyServerName = "server-name"
	KeyCA         = "tls-ca"
	KeyCert       = "tls-cert"
	KeyKey        = "tls-key"
	KeyTokenFile  = "token-file"
	keyManagedBy  = "managed-by"
)

type field struct {
	key   string
	value *string
	path  bool
}

func (c *Context) fields() []field {
	return []field{
		{KeyServer, &c.Server, false},
		{KeyServerName, &c.ServerName, false},
		{KeyCA, &c.CA, true},
		{KeyCert, &c.Cert, true},
		{KeyKey, &c.Key, true},
		{KeyTokenFile, &c.TokenFile, true},
		{keyManagedBy, &c.ManagedBy, false},
	}
}

// Settings returns the fields that are set, by the keys of the file, without
// that of ManagedBy.
func (c Context) Settings() map[string]string {
	settings := make(map[string]string)
	for _, f := range c.fields() {
		if *f.value != "" && f.key != keyManagedBy {
			settings[f.key] = *f.value
		}
	}
	return settings
}

// parse reads a context's file. It refuses keys that no context has, values
// that are no text, and paths that are not absolute.
func parse(text []byte) (Context, error) {
	values, err := yaml.Parser().Unmarshal(text)
	if err != nil {
		return Context{}, fmt.Errorf("is not YAML: %w", err)
	}
	var c Context
	var known []string
	for _, f := range c.fields() {
		known = append(known, f.key)
		value, ok := values[f.key]
		if !ok {
			continue
		}
		delete(values, f.key)
		if *f.value, ok = value.(string); !ok {
			return Context{}, fmt.Errorf("has a value for %s that is not text: put it in quotes", f.key)
		}
	}
	for key := range values {
		return Context{}, fmt.Errorf("has the unknown key %.100q: the known ones are %s", key, strings.Join(known, ", "))
	}
	return c, c.check()
}

func (c Context) check() error {
	if c.Server == "" {
		return errors.New("has no server: set it to HOST:PORT")
	}
	for _, f := range c.fields() {
		if f.path && *f.value != "" && !filepath.IsAbs(*f.value) {
			return fmt.Errorf("has %s %.200q, which is not an absolute path: write it from the root", f.key, *f.value)
		}
	}
	return nil
}

func (c Context) marshal() ([]byte, error) {
	values := make(map[string]any)
	for _, f := range c.fields() {
		if *f.value != "" {
			values[f.key] = *f.value
		}
	}
	return yaml.Parser().Marshal(values)
}

// maxName is how long a context's name may be, in bytes.
const maxName = 64

// CheckName says whether a context may have the name: letters, digits, "-", "_"
// and ".", the first a letter or digit.
func CheckName(name string) error {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
	}
	other := func(r rune) bool { return !plain(r) && !slices.Contains([]rune("-_."), r) }
	if name == "" || len(name) > maxName || strings.ContainsFunc(name, other) || !plain(rune(name[0])) {
		return fmt.Errorf("the context name %.100q is not one: use at most %d letters, digits, \"-\", \"_\" and \".\", the first a letter or digit", name, maxName)
	}
	return nil
}
