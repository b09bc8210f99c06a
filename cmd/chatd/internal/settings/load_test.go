package settings_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"go.uber.org/goleak"

	"securechat/auth"
	"securechat/certs"
	"securechat/cmd/chatd/internal/settings"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func load(environ []string, args ...string) (*settings.Loaded, error) {
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	settings.Flags(flags)
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	return settings.Load(flags, environ)
}

// required are flags for all that must be given.
func required(more ...string) []string {
	return append([]string{"--tls-cert", "c", "--tls-key", "k", "--client-ca", "r", "--jwks", "j", "--issuer", "i", "--audience", "a"}, more...)
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "chatd.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadRefuses(t *testing.T) {
	tests := []struct {
		name string
		env  []string
		args []string
		file string
		says string
	}{
		{name: "nothing given", says: "--tls-cert, --tls-key, --client-ca, --jwks, --issuer, --audience must be given"},
		{name: "required and empty", args: required("--issuer", ""), says: "--issuer must be given"},
		{name: "unknown variable", args: required(), env: []string{"CHATD_CLR=x"}, says: "CHATD_CLR: there is no such setting"},
		{name: "unknown key", args: required(), file: "clr: x", says: "clr: there is no such setting"},
		{name: "nested key", args: required(), file: "tls: {cert: x}", says: "tls.cert: there is no such setting"},
		{name: "key of another case", args: required(), file: "CRL: x", says: "CRL: there is no such setting"},
		{name: "config within the file", args: required(), file: "config: x", says: "config: there is no such setting"},
		{name: "no value", args: required(), file: "crl:", says: "crl: has no value"},
		{name: "a mapping for a value", args: required(), file: "crl: {}", says: "crl: has no value"},
		{name: "a list of numbers", args: required(), file: "algorithms: [1]", says: "algorithms: has no value"},
		{name: "not a mapping", args: required(), file: "- crl", says: "is not YAML of settings"},
		{name: "a key twice", args: required(), file: "crl: x\ncrl: y", says: "is not YAML of settings"},
		{name: "missing file", args: required("--config", "/nosuch"), says: "/nosuch does not exist"},

		{name: "address without port", args: required("--listen", "localhost"), says: `--listen: "localhost" is not an address`},
		{name: "port by name", args: required("--listen", "localhost:chat"), says: "no port by number"},
		{name: "port too large", args: required("--listen", ":65536"), says: "no port by number"},
		{name: "chat listener off", args: required("--listen", "off"), says: "--listen"},
		{name: "identity", args: required("--identity", "cn"), says: "--identity"},
		{name: "bind", args: required("--bind", "none"), says: "--bind"},
		{name: "algorithm none", args: required("--algorithms", "EdDSA,none"), says: `"none" is not an accepted algorithm`},
		{name: "no algorithm", args: required("--algorithms", ""), says: "--algorithms"},
		{name: "log format", args: required("--log-format", "xml"), says: "--log-format"},
		{name: "log level", args: required("--log-level", "loud"), says: "--log-level"},
		{name: "duration without unit", args: required("--grace", "10"), says: "with its unit"},
		{name: "negative grace", args: required("--grace=-1s"), says: "too short"},
		{name: "feeds", args: required("--feeds", "lax"), says: "--feeds"},
		{name: "keys too old at once", args: required("--jwks-max-age", "999ms"), says: "--jwks-max-age: 999ms is too short"},
		{name: "no token lifetime", args: required("--max-token-lifetime", "0s"), says: "too short"},
		{name: "no streams", args: required("--max-streams-per-identity", "0"), says: "must be 1 or more"},
		{name: "count too large", args: required("--max-connections", "99999999999"), says: "too large"},
		{name: "size too large", args: required("--max-message-bytes", "99999999999MiB"), says: "not a size"},
		{name: "size whose product is too large", args: required("--max-message-bytes", "4096MiB"), says: "too large"},
		{name: "size below nothing whose product is not", args: required("--max-message-bytes", "-9223372036854775807KiB"), says: "not a size"},
		{name: "size unit", args: required("--max-message-bytes", "1GB"), says: "not a size"},
		{name: "size of nothing", args: required("--max-header-bytes", "0KiB"), says: "must be 1 or more"},
		{name: "fsync", args: required("--fsync", "never"), says: "--fsync"},
		{name: "nats without a scheme", args: required("--nats", "10.0.0.1:4222"), says: "no URL of a NATS server"},
		{name: "nats by websocket", args: required("--nats", "ws://10.0.0.1"), says: "no URL of a NATS server"},
		{name: "nats in the clear", args: required("--nats", "tls://10.0.0.1:4222,nats://10.0.0.2:4222"), says: "in the clear"},
		{name: "nats with a password", args: required("--nats", "tls://me:secret@10.0.0.1"), says: "--nats-credentials"},
		{name: "nats and data", args: required("--nats", "tls://10.0.0.1", "--data", "d"), says: "--data and --nats"},
		{name: "credentials without nats", args: required("--nats-credentials", "c"), says: "--nats, which is missing"},
		{name: "replicas without nats", args: required("--nats-replicas", "3", "--data", "d"), says: "--nats-replicas"},
		{name: "too many replicas", args: required("--nats-replicas", "6", "--nats", "tls://a"), says: "--nats-replicas"},
		{name: "half of a pair", args: required("--nats", "tls://a", "--nats-cert", "c"), says: "--nats-cert and --nats-key"},
		{name: "fsync of others", args: required("--nats", "tls://a", "--fsync", "interval"), says: "sync_interval"},
		{name: "history of a moment", args: required("--history-age", "1ms"), says: "too short"},
		{name: "negative history", args: required("--history-count=-1"), says: "--history-count"},
		{name: "jwks-ca for a file", args: required("--jwks-ca", "x"), says: "--jwks-ca"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			args := test.args
			if test.file != "" {
				args = append(args, "--config", writeFile(t, test.file))
			}
			_, err := load(test.env, args...)
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Fatalf("Load: %v, want an error that says %q", err, test.says)
			}
			if got, want := errors.Is(err, settings.ErrFile), test.name == "missing file"; got != want {
				t.Errorf("the error is about a file: %v, want %v", got, want)
			}
		})
	}
}

func TestPrecedence(t *testing.T) {
	config := writeFile(t, "issuer: of-file\ngrace: 3s\ncrl: revoked.crl\nrevocations: /abs/revoked\njwks: https://issuer.example/jwks.json\n")
	tests := []struct {
		name string
		env  []string
		args []string
		want string
		from string
	}{
		{name: "file", want: "of-file", from: config + ": issuer"},
		{name: "environment before file", env: []string{"CHATD_ISSUER=of-environment"}, want: "of-environment", from: "CHATD_ISSUER"},
		{name: "flag before environment", env: []string{"CHATD_ISSUER=of-environment"}, args: []string{"--issuer", "of-flag"}, want: "of-flag", from: "--issuer"},
		{name: "an empty variable is none", env: []string{"CHATD_ISSUER="}, want: "of-file", from: config + ": issuer"},
	}
	base := []string{"--tls-cert", "c", "--tls-key", "k", "--client-ca", "r", "--audience", "a"}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			loaded, err := load(append(test.env, "CHATD_CONFIG="+config, "UNRELATED=x"), append(base, test.args...)...)
			if err != nil {
				t.Fatal(err)
			}
			if loaded.Issuer != test.want {
				t.Errorf("issuer is %q, want %q", loaded.Issuer, test.want)
			}
			for _, v := range loaded.Values {
				if v.Key == "issuer" && (v.Text != test.want || v.Origin != test.from) {
					t.Errorf("the value is %+v, want from %q", v, test.from)
				}
			}
			// Paths of a file start at the file, those of flags where the program runs.
			if want := filepath.Join(filepath.Dir(config), "revoked.crl"); loaded.CRL != want {
				t.Errorf("crl is %q, want %q", loaded.CRL, want)
			}
			if loaded.Revocations != "/abs/revoked" || loaded.JWKS != "https://issuer.example/jwks.json" || loaded.TLSCert != "c" {
				t.Errorf("a path changed: %q, %q, %q", loaded.Revocations, loaded.JWKS, loaded.TLSCert)
			}
			if loaded.Grace != 3*time.Second {
				t.Errorf("grace is %v", loaded.Grace)
			}
		})
	}
}

func TestValues(t *testing.T) {
	loaded, err := load(nil, required(
		"--listen", "[::1]:0", "--admin-listen", "off", "--identity", "email", "--bind", "subject",
		"--algorithms", "RS256, PS256", "--log-format", "json", "--log-level", "debug", "--grace", "0s",
		"--nats", "tls://a.example:4222, nats://127.0.0.1:4222", "--nats-replicas", "3", "--nats-ca", "nats.crt",
		"--history-age", "0", "--history-count", "1000", "--max-message-rate", "20",
		"--max-message-bytes", "1MiB", "--max-header-bytes", "8192", "--idle-timeout", "1h",
	)...)
	if err != nil {
		t.Fatal(err)
	}
	got := loaded.Settings
	want := settings.Defaults()
	want.Listen, want.AdminListen = "[::1]:0", ""
	want.TLSCert, want.TLSKey, want.ClientCA, want.JWKS, want.Issuer, want.Audience = "c", "k", "r", "j", "i", "a"
	want.Identity, want.Bind = certs.Email, auth.BindSubject
	want.Algorithms = []string{"RS256", "PS256"}
	want.LogFormat, want.LogLevel, want.Grace = settings.FormatJSON, slog.LevelDebug, 0
	want.NATS, want.NATSReplicas, want.NATSCA = []string{"tls://a.example:4222", "nats://127.0.0.1:4222"}, 3, "nats.crt"
	want.HistoryAge, want.HistoryCount, want.MaxMessageRate = 0, 1000, 20
	want.Limits.MessageBytes, want.Limits.HeaderBytes, want.Limits.Idle = 1<<20, 8192, time.Hour
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestDefaults(t *testing.T) {
	d := settings.Defaults()
	if d.Listen != ":50051" || d.AdminListen != "127.0.0.1:9464" || d.Bind != auth.BindCertificate || d.Identity != certs.URI ||
		d.MaxTokenLifetime != 24*time.Hour || d.Grace != 10*time.Second || d.HasRooms() || d.HistoryAge != 720*time.Hour || d.Fsync != settings.FsyncAlways || !reflect.DeepEqual(d.Algorithms, []string{"EdDSA", "ES256"}) {
		t.Errorf("defaults: %+v", d)
	}
	// A limit that is left zero would be the server's default and not what the help says.
	limits := reflect.ValueOf(d.Limits)
	for i := range limits.NumField() {
		if limits.Field(i).IsZero() {
			t.Errorf("the limit %s has no setting", limits.Type().Field(i).Name)
		}
	}
}

// Kubernetes gives every pod variables for each service of its namespace.
func TestVariablesOfKubernetesAreNotOurs(t *testing.T) {
	_, err := load([]string{"CHATD_PORT=tcp://10.0.0.1:50051", "CHATD_PORT_50051_TCP=tcp://10.0.0.1:50051", "CHATD_SERVICE_HOST=10.0.0.1", "CHATD_ADMIN_SERVICE_PORT=9464"}, required()...)
	if err != nil {
		t.Error(err)
	}
}

func FuzzFile(f *testing.F) {
	f.Add([]byte("issuer: x\nmax-connections: 5\nalgorithms: [EdDSA]\n"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("grace: !!binary aGk=\n"))
	f.Add([]byte("? [x]\n: y\n"))
	f.Add([]byte("1: 2\nnull: x\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		loaded, err := load(nil, required("--config", writeFile(t, string(text)))...)
		if err != nil {
			return
		}
		for _, v := range loaded.Values {
			if v.Origin == "" {
				t.Errorf("%s has no origin", v.Key)
			}
		}
		if loaded.Limits.Connections < 1 || loaded.MaxTokenLifetime <= 0 || len(loaded.Algorithms) == 0 {
			t.Errorf("accepted: %+v", loaded.Settings)
		}
	})
}
