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

	Data            string        // folder of the log of rooms, embedded; empty: none
	Fsync           Fsync         // of the embedded log
	NATS            []string      // URLs of a NATS cluster that keeps the log instead
	NATSCA          string        // file of the roots for tls URLs; empty: the system's
	NATSCert        string        // file of the certificate that NATS is shown; empty: none
	NATSKey         string        // file of its key
	NATSCredentials string        // file of the account's credentials; empty: none
	NATSReplicas    int           // how many servers of the cluster keep each message
	HistoryAge      time.Duration // how long messages are kept; 0: for good
	HistoryCount    int           // how many a room keeps; 0: all
	MaxMessageRate  int           // messages a second of one user in rooms; 0: no bound

	Limits server.Limits
	Grace  time.Duration // how long open streams have at shutdown

	LogFormat string // FormatText or FormatJSON
	LogLevel  slog.Level
}

// HasRooms says whether there is a log to keep rooms in.
func (s Settings) HasRooms() bool { return s.Data != "" || len(s.NATS) > 0 }

// Fsync says when the embedded log writes through to its disk.
type Fsync string

const (
	// FsyncAlways is before each acknowledgement.
	FsyncAlways Fsync = "always"
	// FsyncInterval is once a second: power that fails takes what was acknowledged
	// since.
	FsyncInterval Fsync = "interval"
)

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
