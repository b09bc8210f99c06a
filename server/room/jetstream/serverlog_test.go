package jetstream

import (
	"bytes"
	"log/slog"
	"testing"
)

func TestServerLog(t *testing.T) {
	var out bytes.Buffer
	log := serverLog{slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{
		Level:       slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr { return dropTime(a) },
	}))}
	log.Tracef("->> [%s]", "a message") // bodies
	log.Debugf("%s", "a message")
	log.Noticef("ready on %d", 1)
	log.Warnf("slow by %d", 2)
	log.Errorf("failed at %d", 3)
	log.Fatalf("ended at %d", 4)
	const want = `level=DEBUG msg="room log: ready on 1"
level=WARN msg="room log: slow by 2"
level=ERROR msg="room log: failed at 3"
level=ERROR msg="room log: ended at 4"
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func dropTime(a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}
