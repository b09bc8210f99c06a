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

func TestNodes(t *testing.T) {
	roomtest.TestLog(t, func(t *testing.T, limits roomtest.Limits) roomtest.Open {
		cluster := roomtest.NewCluster(roomtest.NewMemoryWithin(limits))
		return func() room.Log { return cluster.Node() }
	})
	roomtest.TestCluster(t, func(t *testing.T) (a, b roomtest.SharedLog) {
		cluster := roomtest.NewCluster(roomtest.NewMemory())
		return cluster.Node(), cluster.Node()
	})
}
