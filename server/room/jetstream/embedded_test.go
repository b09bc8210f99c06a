package jetstream_test

import (
	"testing"

	"securechat/server/room"
	"securechat/server/room/jetstream"
	"securechat/server/room/roomtest"
)

func openEmbedded(t testing.TB, config jetstream.EmbeddedConfig) *jetstream.Local {
	t.Helper()
	log, err := jetstream.Embedded(config)
	if err != nil {
		t.Fatal(err)
	}
	return log
}

func keep(limits roomtest.Limits) jetstream.Retention {
	return jetstream.Retention{MaxAge: limits.MaxAge, MaxPerRoom: int64(limits.MaxPerRoom)}
}

func TestEmbedded(t *testing.T) {
	t.Parallel()
	roomtest.TestLog(t, func(t *testing.T, limits roomtest.Limits) roomtest.Open {
		config := jetstream.EmbeddedConfig{Dir: t.TempDir() + "/log", Keep: keep(limits)}
		return func() room.Log { return openEmbedded(t, config) }
	})
}
