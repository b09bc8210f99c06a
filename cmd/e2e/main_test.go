//go:build e2e

package e2e

import (
	"testing"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	registerChaosFlags()
	zerolog.SetGlobalLevel(zerolog.Disabled) // toxiproxy's
	goleak.VerifyTestMain(m)
}
