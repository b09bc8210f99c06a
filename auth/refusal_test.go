package auth

import (
	"maps"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
)

// Copies of a refusal are independent, so that one may be shared.
func TestMetadataOfRefusals(t *testing.T) {
	plain := Refusef(SlowConsumer, "behind").After(time.Second)
	one := plain.With("after", "7")
	two := one.With("after", "9").With("oldest", "2")
	for _, test := range []struct {
		refusal *Refusal
		want    map[string]string
	}{
		{plain, nil},
		{one, map[string]string{"after": "7"}},
		{two, map[string]string{"after": "9", "oldest": "2"}},
	} {
		var info *errdetails.ErrorInfo
		var retry *errdetails.RetryInfo
		for _, detail := range test.refusal.GRPCStatus().Details() {
			switch detail := detail.(type) {
			case *errdetails.ErrorInfo:
				info = detail
			case *errdetails.RetryInfo:
				retry = detail
			}
		}
		if info.GetReason() != "SLOW_CONSUMER" || !maps.Equal(info.GetMetadata(), test.want) || retry.GetRetryDelay().AsDuration() != time.Second {
			t.Errorf("got %v and %v, want the metadata %v", info, retry, test.want)
		}
	}
}
