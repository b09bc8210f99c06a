package server

import (
	"fmt"
	"net"
	"testing"
	"time"
)

func TestQuiet(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	q := newQuiet(func() time.Time { return now })
	said := 0
	for range 1000 {
		if _, say := q.may("loud"); say {
			said++
		}
	}
	if said != quietBurst {
		t.Errorf("a loud source had %d lines at once, want %d", said, quietBurst)
	}
	if _, say := q.may("another"); !say {
		t.Error("a loud source has silenced another")
	}
	now = now.Add(time.Second)
	if withheld, say := q.may("loud"); !say || withheld != 1000-quietBurst {
		t.Errorf("a second later: %v with %d withheld, want a line that says %d", say, withheld, 1000-quietBurst)
	}
	if withheld, say := q.may("loud"); !say || withheld != 0 {
		t.Errorf("the next line: %v with %d withheld", say, withheld)
	}
	now = now.Add(-time.Hour) // a clock that is set back
	if _, say := q.may("loud"); !say {
		t.Error("a clock that was set back has silenced a source")
	}
	for i := range 3 * quietSources {
		q.may(fmt.Sprint(i))
	}
	if len(q.sources) > quietSources {
		t.Errorf("%d sources are remembered", len(q.sources))
	}
}

func TestAddressOf(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.1:50000":                      "192.0.2.1",
		"[::ffff:192.0.2.1]:50000":             "192.0.2.1",
		"[2001:db8:1:2:aaaa:bbbb:cccc:1]:5000": "2001:db8:1:2::/64",
		"[2001:db8:1:2::9]:5000":               "2001:db8:1:2::/64",
		"[fe80::1%eth0]:5000":                  "fe80::/64",
	} {
		if got := addressOf(plainAddr(address)); got != want {
			t.Errorf("%s counts under %q, want %q", address, got, want)
		}
	}
	if got := addressOf(&net.UnixAddr{Name: "/run/x", Net: "unix"}); got != "unix" {
		t.Errorf("a Unix socket counts under %q", got)
	}
}

type plainAddr string

func (plainAddr) Network() string  { return "tcp" }
func (a plainAddr) String() string { return string(a) }
