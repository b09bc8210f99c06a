package jetstream_test

import (
	"errors"
	"strings"
	"testing"

	"securechat/server/room"
	"securechat/server/room/roomtest"
)

// A message that is too large for the server is refused for good, alone and in a
// batch, so that the others of the batch can be told apart from it.
func TestTooLargeForTheServer(t *testing.T) {
	n := startNATS(t, 1)
	n.stop(0)
	n.options[0].MaxPayload = 64 << 10
	n.start(0)
	log := connect(t, n.config(roomtest.Limits{}))
	defer log.Close()
	large := said("large", 0, strings.Repeat("x", 64<<10))
	for name, drafts := range map[string][]room.Draft{
		"alone": {large}, "first": {large, said("other", 0, "x")}, "last": {said("other", 0, "x"), large},
	} {
		if _, err := log.Append(t.Context(), drafts); !errors.Is(err, room.ErrRefused) || errors.Is(err, room.ErrUnavailable) {
			t.Errorf("%s: the append gave %v, want ErrRefused", name, err)
		}
	}
	if _, err := log.Append(t.Context(), []room.Draft{said("other", 0, "x")}); err != nil {
		t.Errorf("without it: %v", err)
	}
}
