package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"securechat/cmd/internal/cli"
	"securechat/cmd/internal/contexts"
)

// settings says which server to use and with which files. A flag goes before
// the environment, and the environment before the context.
type settings struct {
	flags   *pflag.FlagSet
	context string
}

// flagsOf describes the settings, which a context's file and the environment
// have under the same names.
var flagsOf = []struct{ key, usage string }{
	{contexts.KeyServer, "server to use, as HOST[:PORT]"},
	{contexts.KeyServerName, "name that the server's certificate must have (default: the host)"},
	{contexts.KeyCA, "file of the roots that the server's certificate must lead to"},
	{contexts.KeyCert, "file of your certificate"},
	{contexts.KeyKey, "file of your private key"},
	{contexts.KeyTokenFile, "file of your token"},
}

func (s *settings) register(flags *pflag.FlagSet) {
	s.flags = flags
	for _, f := range flagsOf {
		flags.String(f.key, "", f.usage)
	}
	flags.StringVar(&s.context, keyContext, "", "context to use (default: the current one)")
}

// resolve returns what is in force, and refuses what cannot reach a server.
func (s *settings) resolve() (contexts.Context, error) {
	c, err := s.ofContext()
	if err != nil {
		return contexts.Context{}, err
	}
	if err := s.overlay(&c); err != nil {
		return contexts.Context{}, err
	}
	if c.Server == "" {
		return contexts.Context{}, cli.Exit(cli.Usage, errors.New(`no server configured: run "chatd dev", which makes a context, or name another with --context, or pass --server, --tls-ca, --tls-cert, --tls-key and --token-file`))
	}
	var missing []string
	values := c.Settings()
	for _, f := range flagsOf {
		if f.key != contexts.KeyServerName && values[f.key] == "" {
			missing = append(missing, "--"+f.key)
		}
	}
	if len(missing) > 0 {
		return contexts.Context{}, cli.Exit(cli.Usage, fmt.Errorf("the server %s needs more: pass %s, or a context that has it", c.Server, strings.Join(missing, ", ")))
	}
	return c, nil
}

// overlay puts what flags and environment say over c.
func (s *settings) overlay(c *contexts.Context) error {
	for key, field := range map[string]*string{
		contexts.KeyServer: &c.Server, contexts.KeyServerName: &c.ServerName, contexts.KeyCA: &c.CA,
		contexts.KeyCert: &c.Cert, contexts.KeyKey: &c.Key, contexts.KeyTokenFile: &c.TokenFile,
	} {
		value := os.Getenv(variable(key))
		if s.flags.Changed(key) {
			value, _ = s.flags.GetString(key)
			if value == "" {
				return cli.Exit(cli.Usage, fmt.Errorf("--%s is empty: give it a value, or leave it out", key))
			}
		}
		if value != "" {
			*field = value
		}
	}
	return nil
}

// given returns what flags and environment say, with absolute paths.
func (s *settings) given() (contexts.Context, error) {
	var c contexts.Context
	if err := checkVariables(os.Environ()); err != nil {
		return c, err
	}
	if err := s.overlay(&c); err != nil {
		return c, err
	}
	for _, path := range []*string{&c.CA, &c.Cert, &c.Key, &c.TokenFile} {
		if *path == "" {
			continue
		}
		absolute, err := filepath.Abs(*path)
		if err != nil {
			return c, err
		}
		*path = absolute
	}
	return c, nil
}

// ofContext loads the context that is named or else current; none is empty.
func (s *settings) ofContext() (contexts.Context, error) {
	if err := checkVariables(os.Environ()); err != nil {
		return contexts.Context{}, err
	}
	store := contexts.User()
	name := s.context
	if name == "" {
		name = os.Getenv(variable(keyContext))
	}
	if name == "" {
		current, err := store.Current()
		if err != nil || current == "" {
			return contexts.Context{}, err
		}
		name = current
	}
	return loadContext(store, name)
}

func loadContext(store contexts.Store, name string) (contexts.Context, error) {
	c, err := store.Load(name)
	if errors.Is(err, contexts.ErrNotFound) {
		return c, cli.Exit(cli.NotFound, err)
	}
	return c, err
}

const (
	keyContext = "context"
	envPrefix  = "CHAT_"
)

// variable is the environment variable of a setting.
func variable(key string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(key, "-", "_"))
}

// checkVariables refuses a variable that looks like one of a setting and is none:
// what its misspelt name was to say would not count.
func checkVariables(environ []string) error {
	known := []string{variable(keyContext)}
	for _, f := range flagsOf {
		known = append(known, variable(f.key))
	}
	for _, one := range environ {
		name, value, _ := strings.Cut(one, "=")
		if strings.HasPrefix(name, envPrefix) && value != "" && !slices.Contains(known, name) && !cli.FromKubernetes(name[len(envPrefix):]) {
			return cli.Exit(cli.Usage, fmt.Errorf("%.100s: there is no such setting: the variables are %s", name, strings.Join(known, ", ")))
		}
	}
	return nil
}
