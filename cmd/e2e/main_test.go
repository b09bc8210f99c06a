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
	// Readers and toxics of a proxy that wait for a neighbour which has ended are
	// left behind by the library; nothing of ours runs there.
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/stream.(*ChanWriter).Write"),
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*ToxicStub).Run"))
}
