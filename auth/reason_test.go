package auth

import (
	"os"
	"regexp"
	"testing"

	rpccode "google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/codes"
)

// The list of reasons in the documentation is the list in the code.
func TestReasonsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := make(map[Reason][2]string)
	for _, row := range regexp.MustCompile("(?m)^\\| `([A-Z_]+)` \\| ([A-Z_]+) \\| (.*) \\|$").FindAllSubmatch(text, -1) {
		documented[Reason(row[1])] = [2]string{string(row[2]), string(row[3])}
	}
	for reason, rule := range rules {
		want := [2]string{rpccode.Code(rule.code).String(), rule.text}
		if documented[reason] != want {
			t.Errorf("docs/errors.md has %q for %s, the code %q", documented[reason], reason, want)
		}
		delete(documented, reason)
	}
	for reason := range documented {
		t.Errorf("docs/errors.md lists %s, which is no reason", reason)
	}
}

func TestAnUnlistedReasonIsInternal(t *testing.T) {
	if code := Reason("SLIP").Code(); code != codes.Internal {
		t.Errorf("its code is %s, want INTERNAL", code)
	}
}
