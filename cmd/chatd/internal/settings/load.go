package settings

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/providers/rawbytes"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"

	"securechat/cmd/internal/cli"
)

const (
	flagConfig = "config"
	envPrefix  = "CHATD_"
	// delimiter parts the keys of nested values, which no setting has.
	delimiter = "."
	maxFile   = 1 << 20
)

// ErrFile is in the error for a configuration file that cannot be read. All
// other errors of Load are about what the settings say.
var ErrFile = errors.New("the configuration file cannot be read")

// Flags adds a flag for each setting, and --config.
func Flags(flags *pflag.FlagSet) {
	flags.String(flagConfig, "", "file of settings in YAML, by the names of the flags without the dashes; its paths are relative to it")
	for _, s := range table() {
		help := s.help
		if s.required {
			help += " (required)"
		}
		value := &flagValue{text: s.fallback, kind: s.kind}
		flags.Var(value, s.key, help)
	}
}

// A flagValue keeps what the command line says as it is; Load parses it, like
// the same setting from any other place.
type flagValue struct{ text, kind string }

func (v *flagValue) String() string     { return v.text }
func (v *flagValue) Set(t string) error { v.text = t; return nil }
func (v *flagValue) Type() string       { return v.kind }

// Load reads the settings that the parsed flags, the environment and the file
// named by --config or CHATD_CONFIG add up to. It reports all that is wrong with
// them at once.
func Load(flags *pflag.FlagSet, environ []string) (*Loaded, error) {
	layers, err := readLayers(flags, environ)
	if err != nil {
		return nil, err
	}
	loaded := &Loaded{}
	var problems []error
	for _, layer := range layers {
		problems = append(problems, layer.unknown()...)
	}
	var missing []string
	for _, s := range table() {
		value := s.find(layers)
		if s.required && value.Text == "" {
			missing = append(missing, "--"+s.key)
			continue
		}
		if err := s.take(&loaded.Settings, value.Text); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", value.Origin, err))
		}
		loaded.Values = append(loaded.Values, value)
	}
	if len(missing) > 0 {
		problems = append(problems, fmt.Errorf("%s must be given: as a flag, as %s… in the environment, or in the file of --config (`chatd dev` needs none of them)",
			strings.Join(missing, ", "), variable(missing[0][2:])))
	}
	if loaded.JWKSCA != "" && !strings.Contains(loaded.JWKS, "://") {
		problems = append(problems, errors.New("--jwks-ca: the key set is a file, for which no authority vouches: leave it out, or give --jwks an https URL"))
	}
	problems = append(problems, loaded.roomProblems()...)
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return loaded, nil
}

// Defaults returns the settings with nothing given. Those that are required are
// empty.
func Defaults() Settings {
	var defaults Settings
	for _, s := range table() {
		if err := s.take(&defaults, s.fallback); err != nil {
			panic("settings: the default of " + s.key + ": " + err.Error())
		}
	}
	return defaults
}

// find returns the setting's value from the first layer that has one.
func (s setting) find(layers []layer) Value {
	for _, layer := range layers {
		if !layer.values.Exists(s.key) {
			continue
		}
		text, ok := plain(layer.values.Get(s.key))
		if !ok {
			continue // unknown has reported it
		}
		if s.path && layer.folder != "" && text != "" && !filepath.IsAbs(text) && !strings.Contains(text, "://") {
			text = filepath.Join(layer.folder, text)
		}
		return Value{Key: s.key, Text: text, Origin: layer.origin(s.key)}
	}
	return Value{Key: s.key, Text: s.fallback, Origin: "default"}
}

// A layer is one place that settings come from.
type layer struct {
	values *koanf.Koanf
	origin func(key string) string
	folder string // that relative paths start from; empty: the working folder
}

// unknown reports the keys that no setting has, and values that are no text.
func (l layer) unknown() []error {
	var problems []error
	for _, key := range l.values.Keys() {
		known := slices.ContainsFunc(table(), func(s setting) bool { return s.key == key })
		if !known {
			problems = append(problems, fmt.Errorf("%s: there is no such setting: `chatd serve --help` lists them", l.origin(key)))
		} else if _, ok := plain(l.values.Get(key)); !ok {
			problems = append(problems, fmt.Errorf("%s: has no value, or not a plain one: write text, a number or a list", l.origin(key)))
		}
	}
	return problems
}

// plain returns a value as a flag would have it, a list with commas.
func plain(value any) (string, bool) {
	switch v := value.(type) {
	case string:
		return v, true
	case int, int64, uint64, float64, bool:
		return fmt.Sprint(v), true
	case []any:
		parts := make([]string, len(v))
		for i, part := range v {
			text, ok := part.(string)
			if !ok {
				return "", false
			}
			parts[i] = text
		}
		return strings.Join(parts, ","), true
	}
	return "", false
}

// readLayers reads all places, the one that goes first first.
func readLayers(flags *pflag.FlagSet, environ []string) ([]layer, error) {
	given := layer{values: koanf.New(delimiter), origin: func(key string) string { return "--" + key }}
	if err := given.values.Load(posflag.ProviderWithFlag(flags, delimiter, nil, changedFlag), nil); err != nil {
		return nil, fmt.Errorf("read the flags: %w", err)
	}
	environment := layer{values: koanf.New(delimiter), origin: variable}
	config := ""
	provider := env.Provider(delimiter, env.Opt{
		Prefix:      envPrefix,
		EnvironFunc: func() []string { return environ },
		TransformFunc: func(name, value string) (string, any) {
			key := strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(name, envPrefix), "_", "-"))
			switch {
			case key == flagConfig:
				config = value
				return "", nil
			case value == "" || cli.FromKubernetes(strings.TrimPrefix(name, envPrefix)):
				return "", nil
			}
			return key, value
		},
	})
	if err := environment.values.Load(provider, nil); err != nil {
		return nil, fmt.Errorf("read the environment: %w", err)
	}
	if flag := flags.Lookup(flagConfig); flag != nil && flag.Changed {
		config = flag.Value.String()
	}
	layers := []layer{given, environment}
	if config == "" {
		return layers, nil
	}
	file, err := readFile(config)
	if err != nil {
		return nil, err
	}
	return append(layers, file), nil
}

// changedFlag gives the layer of flags those that the command line has and that
// are settings.
func changedFlag(flag *pflag.Flag) (string, any) {
	if _, ok := flag.Value.(*flagValue); !ok || !flag.Changed {
		return "", nil
	}
	return flag.Name, flag.Value.String()
}

// variable is the environment variable of a setting.
func variable(key string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(key, "-", "_"))
}

func readFile(path string) (layer, error) {
	content, err := readLimited(path)
	if err != nil {
		return layer{}, err
	}
	file := layer{
		values: koanf.New(delimiter),
		origin: func(key string) string { return path + ": " + key },
		folder: filepath.Dir(path),
	}
	if err := file.values.Load(rawbytes.Provider(content), yaml.Parser()); err != nil {
		return layer{}, fmt.Errorf("%s is not YAML of settings: %w", path, err)
	}
	return file, nil
}

func readLimited(path string) ([]byte, error) {
	file, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: %s does not exist: check --config", ErrFile, path)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%w: %s may not be read by this user", ErrFile, path)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrFile, err)
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFile, err)
	}
	if len(content) > maxFile {
		return nil, fmt.Errorf("%w: %s is larger than %d KiB", ErrFile, path, maxFile>>10)
	}
	return content, nil
}
