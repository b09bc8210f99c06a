package settings

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// rooms are the settings of the log that keeps rooms.
func rooms() []setting {
	return []setting{
		{key: "data", kind: "folder", help: "where to keep the messages of rooms, in this process; without it and without --nats there are no rooms", path: true, take: text(func(s *Settings) *string { return &s.Data })},
		{key: "fsync", fallback: string(FsyncAlways), kind: "always|interval", help: "when messages in --data are on disk: always before they are acknowledged, or at an interval of a second, which power that fails takes with it", take: fsync},
		{key: "nats", kind: "urls", help: "NATS servers that keep the messages instead, with commas: tls://host:4222, or nats://127.0.0.1:4222 on this machine", take: natsURLs},
		{key: "nats-ca", kind: "file", help: "the authorities that vouch for the servers of --nats; the system's if empty", path: true, take: text(func(s *Settings) *string { return &s.NATSCA })},
		{key: "nats-cert", kind: "file", help: "the certificate that the servers of --nats are shown", path: true, take: text(func(s *Settings) *string { return &s.NATSCert })},
		{key: "nats-key", kind: "file", help: "the private key of that certificate", path: true, take: text(func(s *Settings) *string { return &s.NATSKey })},
		{key: "nats-credentials", kind: "file", help: "the credentials (.creds) of the NATS account", path: true, take: text(func(s *Settings) *string { return &s.NATSCredentials })},
		{key: "nats-replicas", fallback: "1", kind: "count", help: "how many servers of --nats keep each message: 3 or 5 in a cluster", take: count(func(s *Settings) *int { return &s.NATSReplicas })},
		{key: "history-age", fallback: "720h", kind: "duration", help: "how long messages are kept; 0 for good", take: historyAge},
		{key: "history-count", fallback: "0", kind: "count", help: "how many messages a room keeps; 0 for all", take: orNone(func(s *Settings) *int { return &s.HistoryCount })},
		{key: "max-message-rate", fallback: "0", kind: "count", help: "how many messages a second one user may send to rooms, what is faster being read later; 0 for any number", take: orNone(func(s *Settings) *int { return &s.MaxMessageRate })},
	}
}

func fsync(s *Settings, value string) error {
	s.Fsync = Fsync(value)
	if s.Fsync != FsyncAlways && s.Fsync != FsyncInterval {
		return fmt.Errorf("%.100q is not known: use always or interval", value)
	}
	return nil
}

// natsURLs takes no password in a URL, which others could read in the list of
// processes, and nothing in the clear that leaves the machine.
func natsURLs(s *Settings, value string) error {
	s.NATS = nil
	if value == "" {
		return nil
	}
	for text := range strings.SplitSeq(value, ",") {
		u, err := url.Parse(strings.TrimSpace(text))
		switch {
		case err != nil || u.Host == "" || u.Scheme != "tls" && u.Scheme != "nats":
			return errors.New("has an entry that is no URL of a NATS server: write tls://host:4222")
		case u.User != nil:
			return errors.New("has a user or a password in a URL, where others can read it: use --nats-credentials")
		case u.Scheme == "nats" && !onLoopback(u.Hostname()):
			return fmt.Errorf("nats://%.100s would send messages in the clear to another machine: use tls://", u.Host)
		}
		s.NATS = append(s.NATS, u.String())
	}
	return nil
}

func onLoopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

func historyAge(s *Settings, value string) error {
	if err := duration(0, func(s *Settings) *time.Duration { return &s.HistoryAge })(s, value); err != nil {
		return err
	}
	if s.HistoryAge > 0 && s.HistoryAge < time.Second {
		return fmt.Errorf("%v is too short: the least is 1s, or 0 to keep messages for good", s.HistoryAge)
	}
	return nil
}

// orNone is a count, or 0 for no bound.
func orNone(field func(*Settings) *int) func(*Settings, string) error {
	return func(s *Settings, value string) error {
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || n < 0 || n > math.MaxInt32 {
			return fmt.Errorf("%.100q is not a whole number from 0 to %d", value, math.MaxInt32)
		}
		*field(s) = int(n)
		return nil
	}
}

// roomProblems says which settings of rooms do not go together.
func (s Settings) roomProblems() []error {
	var problems []error
	for _, conflict := range []struct {
		is   bool
		says string
	}{
		{s.Data != "" && len(s.NATS) > 0, "--data and --nats: rooms are kept in one place: leave one out"},
		{len(s.NATS) == 0 && s.NATSCA+s.NATSCert+s.NATSKey+s.NATSCredentials != "", "--nats-ca, --nats-cert, --nats-key and --nats-credentials say how to reach the servers of --nats, which is missing"},
		{len(s.NATS) == 0 && s.NATSReplicas > 1, "--nats-replicas: there is one copy in --data: give --nats"},
		{(s.NATSCert == "") != (s.NATSKey == ""), "--nats-cert and --nats-key belong together: give both"},
		{s.NATSReplicas > 5, "--nats-replicas: NATS keeps 5 copies at most"},
		{len(s.NATS) > 0 && s.Fsync == FsyncInterval, "--fsync is about --data: for --nats see sync_interval in the configuration of its servers"},
	} {
		if conflict.is {
			problems = append(problems, errors.New(conflict.says))
		}
	}
	return problems
}
