package settings

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"securechat/auth"
	"securechat/certs"
)

// Off is what turns a listener off.
const Off = "off"

func text(field func(*Settings) *string) func(*Settings, string) error {
	return func(s *Settings, value string) error {
		*field(s) = value
		return nil
	}
}

func address(optional bool, field func(*Settings) *string) func(*Settings, string) error {
	return func(s *Settings, value string) error {
		if optional && (value == "" || value == Off) {
			*field(s) = ""
			return nil
		}
		if err := CheckAddress(value); err != nil {
			return err
		}
		*field(s) = value
		return nil
	}
}

// CheckAddress says whether value is host:port with a port by number. The host
// may be empty, for all of the machine's addresses.
func CheckAddress(value string) error {
	_, port, err := net.SplitHostPort(value)
	if err != nil {
		return fmt.Errorf("%.100q is not an address: write host:port, such as 127.0.0.1:50051", value)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%.100q has no port by number: write host:port, the port from 0, for any, to 65535", value)
	}
	return nil
}

func identity(s *Settings, value string) (err error) {
	s.Identity, err = certs.ParseKind(value)
	return err
}

func bind(s *Settings, value string) error {
	switch value {
	case "certificate":
		s.Bind = auth.BindCertificate
	case "subject":
		s.Bind = auth.BindSubject
	default:
		return fmt.Errorf("%.100q is no binding: use certificate or subject", value)
	}
	return nil
}

func feeds(s *Settings, value string) error {
	if value != "best-effort" && value != "strict" {
		return fmt.Errorf("%.100q is no way to treat feeds: use best-effort or strict", value)
	}
	s.StrictFeeds = value == "strict"
	return nil
}

func algorithms(s *Settings, value string) error {
	known := []string{"EdDSA", "ES256", "RS256", "PS256"}
	s.Algorithms = nil
	for name := range strings.SplitSeq(value, ",") {
		name = strings.TrimSpace(name)
		if !slices.Contains(known, name) {
			return fmt.Errorf("%.100q is not an accepted algorithm: list some of %s", name, strings.Join(known, ", "))
		}
		s.Algorithms = append(s.Algorithms, name)
	}
	return nil
}

func logFormat(s *Settings, value string) error {
	if value != FormatText && value != FormatJSON {
		return fmt.Errorf("%.100q is no format: use text or json", value)
	}
	s.LogFormat = value
	return nil
}

func logLevel(s *Settings, value string) error {
	if err := s.LogLevel.UnmarshalText([]byte(value)); err != nil {
		return fmt.Errorf("%.100q is no level: use %s, %s, %s or %s", value, slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError)
	}
	return nil
}

func duration(least time.Duration, field func(*Settings) *time.Duration) func(*Settings, string) error {
	return func(s *Settings, value string) error {
		d, err := time.ParseDuration(value)
		if err != nil {
			return fmt.Errorf("%.100q is not a duration: write it with its unit, such as 10s, 15m or 24h", value)
		}
		if d < least {
			return fmt.Errorf("%v is too short: the least is %v", d, least)
		}
		*field(s) = d
		return nil
	}
}

func count[T int | uint32](field func(*Settings) *T) func(*Settings, string) error {
	return func(s *Settings, value string) error {
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return fmt.Errorf("%.100q is not a whole number", value)
		}
		return setCount(field(s), n)
	}
}

func size[T int | uint32](field func(*Settings) *T) func(*Settings, string) error {
	return func(s *Settings, value string) error {
		digits, unit := value, int64(1)
		for _, u := range []struct {
			suffix string
			bytes  int64
		}{{"KiB", 1 << 10}, {"MiB", 1 << 20}} {
			if trimmed, ok := strings.CutSuffix(value, u.suffix); ok {
				digits, unit = trimmed, u.bytes
			}
		}
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || n < 0 || n > math.MaxInt32 {
			return fmt.Errorf("%.100q is not a size: write bytes, KiB or MiB, such as 65536 or 64KiB", value)
		}
		return setCount(field(s), n*unit)
	}
}

var errNotPositive = errors.New("must be 1 or more")

func setCount[T int | uint32](field *T, n int64) error {
	if n < 1 {
		return errNotPositive
	}
	if n > math.MaxInt32 {
		return fmt.Errorf("%d is too large: the most is %d", n, math.MaxInt32)
	}
	*field = T(n)
	return nil
}
