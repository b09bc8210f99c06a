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
	// A proxy's reader that waits for a toxic which has ended is left behind by the
	// library (ToxicLink.read); nothing of ours runs there.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/stream.(*ChanWriter).Write"))
}
