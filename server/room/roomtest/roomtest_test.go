package roomtest_test

import (
	"testing"

	"go.uber.org/goleak"

	"securechat/server/room"
	"securechat/server/room/roomtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMemory(t *testing.T) {
	roomtest.TestLog(t, func(t *testing.T, limits roomtest.Limits) roomtest.Open {
		log := roomtest.NewMemoryWithin(limits)
		return func() room.Log { return log }
	})
}
