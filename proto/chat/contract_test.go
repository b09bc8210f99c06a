package chatpb

import (
	"context"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/reflect/protoreflect"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What clients in the field know must never change.
func TestTheContractIsFrozen(t *testing.T) {
	if Chat_ChatStream_FullMethodName != "/chat.Chat/chatStream" {
		t.Errorf("the path is %s", Chat_ChatStream_FullMethodName)
	}
	fields := (&ChatMessage{}).ProtoReflect().Descriptor().Fields()
	for number, want := range map[protoreflect.FieldNumber]struct {
		name protoreflect.Name
		kind protoreflect.Kind
	}{
		1: {"user", protoreflect.StringKind},
		2: {"message", protoreflect.StringKind},
		3: {"timestamp", protoreflect.StringKind},
		4: {"id", protoreflect.StringKind},
		5: {"sequence", protoreflect.Uint64Kind},
		6: {"kind", protoreflect.EnumKind},
		7: {"traceparent", protoreflect.StringKind},
	} {
		if f := fields.ByNumber(number); f == nil || f.Name() != want.name || f.Kind() != want.kind {
			t.Errorf("field %d is %v, want %s %s", number, f, want.kind, want.name)
		}
	}
	for value, name := range []string{"MESSAGE", "ACKNOWLEDGEMENT", "JOINED", "LEFT", "LIVE", "TYPING"} {
		if Kind(value).String() != name {
			t.Errorf("kind %d is %s, want %s", value, Kind(value), name)
		}
	}
}

func TestTimestampsAreUTCWithMilliseconds(t *testing.T) {
	east := time.FixedZone("east", 2*60*60)
	for want, at := range map[string]time.Time{
		"2026-03-04T05:06:07.000Z": time.Date(2026, 3, 4, 7, 6, 7, 0, east),
		"2026-03-04T05:06:07.890Z": time.Date(2026, 3, 4, 5, 6, 7, 890_999_999, time.UTC),
	} {
		if got := FormatTimestamp(at); got != want {
			t.Errorf("%v is %s, want %s", at, got, want)
		}
	}
}

const (
	traceID = "0af7651916cd43dd8448eb211c80319c"
	spanID  = "b7ad6b7169203331"
)

func TestTraceparentsThatAreNone(t *testing.T) {
	for name, value := range map[string]string{
		"nothing":                    "",
		"too short":                  "00-" + traceID + "-" + spanID + "-0",
		"longer than version 00":     "00-" + traceID + "-" + spanID + "-01-more",
		"capitals":                   "00-" + strings.ToUpper(traceID) + "-" + spanID + "-01",
		"version ff":                 "ff-" + traceID + "-" + spanID + "-01",
		"trace id of zeros":          "00-" + strings.Repeat("0", 32) + "-" + spanID + "-01",
		"span id of zeros":           "00-" + traceID + "-" + strings.Repeat("0", 16) + "-01",
		"no dash":                    "00_" + traceID + "-" + spanID + "-01",
		"no hexadecimal":             "00-" + traceID[:31] + "g-" + spanID + "-01",
		"flags that are none":        "00-" + traceID + "-" + spanID + "-0x",
		"a later version, run on":    "01-" + traceID + "-" + spanID + "-01more",
		"a line break in the middle": "00-" + traceID + "\n" + spanID + "-01",
	} {
		if sc, ok := ParseTraceparent(value); ok || sc.IsValid() {
			t.Errorf("%s: %q was read as %v", name, value, sc)
		}
	}
}

func TestTraceparentsThatAreRead(t *testing.T) {
	for value, sampled := range map[string]bool{
		"00-" + traceID + "-" + spanID + "-01":      true,
		"00-" + traceID + "-" + spanID + "-00":      false,
		"00-" + traceID + "-" + spanID + "-03":      true, // flags unknown to us are dropped
		"01-" + traceID + "-" + spanID + "-01-more": true, // a later version is read as far as we know it
	} {
		sc, ok := ParseTraceparent(value)
		if !ok || !sc.IsRemote() || sc.TraceID().String() != traceID || sc.SpanID().String() != spanID || sc.IsSampled() != sampled {
			t.Errorf("%q was read as %v, %v", value, sc, ok)
		}
		want := "00-" + traceID + "-" + spanID + "-00"
		if sampled {
			want = want[:len(want)-1] + "1"
		}
		if got := FormatTraceparent(sc); got != want {
			t.Errorf("%q was written as %q, want %q", value, got, want)
		}
	}
	if got := FormatTraceparent(trace.SpanContext{}); got != "" {
		t.Errorf("no span context was written as %q", got)
	}
}

// FuzzParseTraceparent holds the parser against OpenTelemetry's own.
func FuzzParseTraceparent(f *testing.F) {
	f.Add("00-" + traceID + "-" + spanID + "-01")
	f.Add("cc-" + traceID + "-" + spanID + "-01-what-the-future-will-be-like")
	f.Add("00-" + traceID + "-" + spanID + "-ff")
	f.Add("")
	f.Fuzz(func(t *testing.T, value string) {
		got, ok := ParseTraceparent(value)
		carrier := propagation.MapCarrier{"traceparent": value}
		want := trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), carrier))
		// Theirs also reads trace flags that ours drops, and refuses unknown
		// flags of version 00; what ours accepts, they must read alike.
		if ok && want.IsValid() && (got.TraceID() != want.TraceID() || got.SpanID() != want.SpanID() || got.IsSampled() != want.IsSampled()) {
			t.Errorf("%q: %v, OpenTelemetry reads %v", value, got, want)
		}
		if !ok && want.IsValid() {
			t.Errorf("%q: refused, OpenTelemetry reads %v", value, want)
		}
		if ok && len(FormatTraceparent(got)) != TraceparentLength {
			t.Errorf("%q: written as %q", value, FormatTraceparent(got))
		}
	})
}

func FuzzEscapeUser(f *testing.F) {
	f.Add("alice")
	f.Add("Zoë 100%")
	f.Add("愛麗絲\x00\n")
	f.Fuzz(func(t *testing.T, name string) {
		header := EscapeUser(name)
		for i := range len(header) {
			if header[i] < 0x20 || header[i] > 0x7e {
				t.Fatalf("%q is escaped as %q", name, header)
			}
		}
		if back, err := UnescapeUser(header); err != nil || back != name {
			t.Errorf("%q came back as %q, %v", name, back, err)
		}
	})
}
