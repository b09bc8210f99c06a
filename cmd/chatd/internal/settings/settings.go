// Package settings reads what `chatd serve` is told: by flags, by CHATD_*
// environment variables, by a YAML file, or by default, the earlier going before
// the later. A key that no setting has is refused wherever it comes from.
package settings

import (
	"log/slog"
	"time"

	"securechat/auth"
	"securechat/certs"
	"securechat/server"
)

// Settings is all that the service can be told. Paths are as they were given,
// but those from a file are relative to that file.
type Settings struct {
	Listen      string // host:port
	AdminListen string // host:port; empty: no admin listener

	TLSCert, TLSKey  string // files of the server's certificate and key
	ClientCA         string // file of the roots that clients' certificates lead to
	CRL, Revocations string // files; empty: nothing is revoked
	Policy           string // file of who may open which room; empty: as tokens say
	Identity         certs.Kind
	TrustDomain      string // empty: any that the roots vouch for

	JWKS             string // file, or https URL
	JWKSCA           string // file of the roots for the URL; empty: the system's
	JWKSMaxAge       time.Duration
	StrictFeeds      bool // lists and keys that are too old refuse
	Issuer, Audience string
	Algorithms       []string
	MaxTokenLifetime time.Duration
	Bind             auth.Bind
	MaxSession       time.Duration // 0: no bound

	Limits server.Limits
	Grace  time.Duration // how long open streams have at shutdown

	LogFormat string // FormatText or FormatJSON
	LogLevel  slog.Level
}

// The log formats.
const (
	FormatText = "text"
	FormatJSON = "json"
)

// A Value is one setting as it is in force, and where it comes from.
type Value struct {
	Key    string `json:"key"`
	Text   string `json:"value"`
	Origin string `json:"origin"` // "default", or the flag, variable or file
}

// Loaded is what Load has read.
type Loaded struct {
	Settings
	Values []Value // in the order of the documentation
}
