package chatpb

import (
	"encoding/hex"

	"go.opentelemetry.io/otel/trace"
)

// TraceparentLength is that of version 00: "00-" 32 hex "-" 16 hex "-" 2 hex.
const TraceparentLength = 55

// ParseTraceparent reads a W3C Trace Context traceparent value and returns the
// span context of the remote parent, and whether the value is one. As the
// recommendation asks, a later version is read as far as version 00 goes, only
// the sampled flag is kept, and anything malformed counts as absent.
func ParseTraceparent(value string) (trace.SpanContext, bool) {
	var none trace.SpanContext
	if len(value) < TraceparentLength || value[2] != '-' || value[35] != '-' || value[52] != '-' {
		return none, false
	}
	var version, flags [1]byte
	var config trace.SpanContextConfig
	if !lowerHex(version[:], value[:2]) || !lowerHex(config.TraceID[:], value[3:35]) ||
		!lowerHex(config.SpanID[:], value[36:52]) || !lowerHex(flags[:], value[53:55]) {
		return none, false
	}
	switch {
	case version[0] == 0xff:
		return none, false
	case version[0] == 0 && len(value) != TraceparentLength:
		return none, false
	case len(value) > TraceparentLength && value[TraceparentLength] != '-':
		return none, false
	}
	config.TraceFlags = trace.TraceFlags(flags[0]) & trace.FlagsSampled
	config.Remote = true
	sc := trace.NewSpanContext(config)
	return sc, sc.IsValid()
}

// FormatTraceparent writes sc as a traceparent value; "" where sc is not valid.
func FormatTraceparent(sc trace.SpanContext) string {
	if !sc.IsValid() {
		return ""
	}
	traceID, spanID := sc.TraceID(), sc.SpanID()
	b := make([]byte, TraceparentLength)
	copy(b, "00-")
	hex.Encode(b[3:35], traceID[:])
	b[35] = '-'
	hex.Encode(b[36:52], spanID[:])
	copy(b[52:], "-00")
	if sc.IsSampled() {
		b[54] = '1'
	}
	return string(b)
}

// lowerHex decodes text into out and reports whether all of it was lower-case
// hexadecimal, the only form that the recommendation allows.
func lowerHex(out []byte, text string) bool {
	for i := range out {
		high, low := nibble(text[2*i]), nibble(text[2*i+1])
		if high > 0xf || low > 0xf {
			return false
		}
		out[i] = high<<4 | low
	}
	return true
}

func nibble(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	default:
		return 0xff
	}
}
