package jetstream_test

import (
	"context"
	"strings"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"

	"securechat/server/room/jetstream"
	"securechat/server/room/roomtest"
)

// api is what an operator has to change streams with.
func (n *nats) api() js.JetStream {
	n.t.Helper()
	nc, err := natsgo.Connect(n.urls()[0], natsgo.Timeout(readyWithin))
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(nc.Close)
	api, err := js.New(nc)
	if err != nil {
		n.t.Fatal(err)
	}
	return api
}

// good is a stream that is fit to keep rooms in, as somebody else might have made it.
func good(config jetstream.ConnectConfig) js.StreamConfig {
	return js.StreamConfig{
		Name: strings.ToUpper(config.Name), Subjects: []string{config.Name + ".log.>"},
		Storage: js.FileStorage, FirstSeq: 2, AllowDirect: true, AllowAtomicPublish: true,
	}
}

func TestConnectRefusesStreams(t *testing.T) {
	n := startNATS(t, 1)
	api := n.api()
	tests := []struct {
		name   string
		change func(*js.StreamConfig)
		want   string // in the error
	}{
		{"in memory", func(c *js.StreamConfig) { c.Storage = js.MemoryStorage }, "not stored in files"},
		{"stored later", func(c *js.StreamConfig) { c.PersistMode, c.AllowAtomicPublish = js.AsyncPersistMode, false }, "persist_mode"},
		{"without acknowledgements", func(c *js.StreamConfig) { c.NoAck, c.AllowAtomicPublish = true, false }, "no_ack"},
		{"a queue", func(c *js.StreamConfig) { c.Retention = js.WorkQueuePolicy }, "retention"},
		{"full once and for all", func(c *js.StreamConfig) { c.Discard, c.MaxBytes = js.DiscardNew, 1<<20 }, "discard"},
		{"a few messages", func(c *js.StreamConfig) { c.MaxMsgs = 10 }, "max_msgs"},
		{"small messages", func(c *js.StreamConfig) { c.MaxMsgSize = 10 }, "max_msg_size"},
		{"from 1 on", func(c *js.StreamConfig) { c.FirstSeq = 0 }, "begin at sequence 2"},
		{"other subjects too", func(c *js.StreamConfig) { c.Subjects = append(c.Subjects, c.Name+".foreign") }, "other subjects"},
		{"changed subjects", func(c *js.StreamConfig) {
			c.SubjectTransform = &js.SubjectTransformConfig{Source: c.Subjects[0], Destination: c.Subjects[0] + "x"}
			c.SubjectTransform.Destination = strings.Replace(c.Subjects[0], ">", "x.>", 1)
		}, "subject_transform"},
		{"messages that remove others", func(c *js.StreamConfig) { c.AllowRollup = true }, "allow_rollup_hdrs"},
		{"messages that end early", func(c *js.StreamConfig) { c.AllowMsgTTL = true }, "allow_msg_ttl"},
		{"messages that are changed", func(c *js.StreamConfig) { c.AllowMsgCounter = true }, "allow_msg_counter"},
		{"without batches", func(c *js.StreamConfig) { c.AllowAtomicPublish = false }, "allow_atomic"},
		{"without direct access", func(c *js.StreamConfig) { c.AllowDirect = false }, "allow_direct"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			config := n.config(roomtest.Limits{})
			stream := good(config)
			test.change(&stream)
			if _, err := api.CreateStream(t.Context(), stream); err != nil {
				t.Fatal(err)
			}
			log, err := reach(t, config)
			if err == nil {
				log.Close()
				t.Fatal("it was opened")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error is %q, want one that has %q", err, test.want)
			}
		})
	}
}

// The stream that the refused ones vary is accepted, and what is configured about
// retention comes into force.
func TestConnectUpdatesTheStream(t *testing.T) {
	n := startNATS(t, 1)
	api := n.api()
	config := n.config(roomtest.Limits{})
	if _, err := api.CreateStream(t.Context(), good(config)); err != nil {
		t.Fatal(err)
	}
	for _, keep := range []jetstream.Retention{{}, {MaxAge: time.Minute, MaxPerRoom: 5, MaxBytes: 1 << 20}, {MaxAge: time.Hour}} {
		config.Keep = keep
		if err := connect(t, config).Close(); err != nil {
			t.Fatal(err)
		}
		stream, err := api.Stream(t.Context(), strings.ToUpper(config.Name))
		if err != nil {
			t.Fatal(err)
		}
		got := stream.CachedInfo().Config
		unlimited := func(limit int64) int64 { return max(limit, 0) }
		have := jetstream.Retention{MaxAge: got.MaxAge, MaxPerRoom: unlimited(got.MaxMsgsPerSubject), MaxBytes: unlimited(got.MaxBytes)}
		if have != keep || got.RePublish == nil {
			t.Errorf("the stream keeps %+v and republishes %v, want %+v", have, got.RePublish, keep)
		}
	}
}

func TestConnectRefuses(t *testing.T) {
	for name, config := range map[string]jetstream.ConnectConfig{
		"no server":            {},
		"a name with a dot":    {URLs: []string{"nats://127.0.0.1:1"}, Name: "a.b"},
		"too many replicas":    {URLs: []string{"nats://127.0.0.1:1"}, Replicas: 6},
		"negative replicas":    {URLs: []string{"nats://127.0.0.1:1"}, Replicas: -1},
		"a negative retention": {URLs: []string{"nats://127.0.0.1:1"}, Keep: jetstream.Retention{MaxBytes: -1}},
		"nobody there":         {URLs: []string{"nats://user:secret@127.0.0.1:1"}},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), readyWithin)
		log, err := jetstream.Connect(ctx, config)
		cancel()
		if err == nil {
			log.Close()
			t.Errorf("%s: it was opened", name)
			continue
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error has the password: %v", name, err)
		}
	}
}
