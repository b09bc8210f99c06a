package jetstream

import (
	"crypto/tls"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
)

// What is not encrypted does not leave the machine, whatever servers of its cluster
// one on loopback may name; and where one URL asks for TLS all connections have it.
func TestNothingLeavesTheMachineInTheClear(t *testing.T) {
	for name, test := range map[string]struct {
		config    ConnectConfig
		encrypted bool
	}{
		"all on loopback":      {ConnectConfig{URLs: []string{"nats://127.0.0.1:4222", "nats://[::1]:4222"}}, false},
		"one of them with TLS": {ConnectConfig{URLs: []string{"nats://127.0.0.1:4222", "tls://n1:4222"}}, true},
		"with roots":           {ConnectConfig{URLs: []string{"nats://127.0.0.1:4222"}, TLS: &tls.Config{}}, true},
	} {
		var options nats.Options
		for _, set := range test.config.options(newStream(localNames, answerWithin), &Shared{}) {
			if err := set(&options); err != nil {
				t.Fatal(err)
			}
		}
		if options.Secure != test.encrypted {
			t.Errorf("%s: encrypted: %v", name, options.Secure)
		}
		if test.encrypted {
			continue
		}
		// Addresses for documentation: nothing is sent to them.
		for _, address := range []string{"192.0.2.1:4222", "[2001:db8::1]:4222", "[::ffff:192.0.2.1]:4222"} {
			conn, err := options.CustomDialer.Dial("tcp", address)
			if err == nil {
				conn.Close()
			}
			if err == nil || !strings.Contains(err.Error(), "not be encrypted") {
				t.Errorf("%s: dialling %s gave %v", name, address, err)
			}
		}
	}
}

// What was too much to be taken in time is missed, as what came while the connection
// was lost; other errors lose nothing.
func TestWhatASlowNodeMissesIsLookedFor(t *testing.T) {
	for _, test := range []struct {
		err  error
		want int
	}{{nats.ErrPermissionViolation, 0}, {nats.ErrSlowConsumer, 1}} {
		l := &Shared{reconnected: make(chan struct{}, 1)}
		var options nats.Options
		for _, set := range (&ConnectConfig{}).options(newStream(localNames, answerWithin), l) {
			if err := set(&options); err != nil {
				t.Fatal(err)
			}
		}
		options.AsyncErrorCB(nil, nil, test.err)
		if got := len(l.reconnected); got != test.want {
			t.Errorf("%v: told %d times, want %d", test.err, got, test.want)
		}
	}
}
