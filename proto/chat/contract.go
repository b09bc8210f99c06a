package chatpb

import (
	"net/url"
	"strings"
	"time"
)

// Metadata of a chat stream. Keys are lower case, as HTTP/2 has them.
const (
	// MetadataRoom names the room to open; absent means echo.
	MetadataRoom = "chat-room"
	// MetadataAfter is the sequence after which a room is replayed.
	MetadataAfter = "chat-after"
	// HeaderUser is the verified user, escaped by EscapeUser.
	HeaderUser = "chat-user"
	// HeaderExpires is when the stream ends unless refreshed (RFC 3339).
	HeaderExpires = "chat-expires"
	// MetadataTraceparent is the W3C trace context of the call.
	MetadataTraceparent = "traceparent"
)

// ServerUser is the author of all that the server itself says. It is no user's
// name.
const ServerUser = "Server"

// Acknowledged is what the echo puts before the text it acknowledges.
const Acknowledged = "Acknowledged: "

// TimestampFormat is the layout of timestamps, for times in UTC: RFC 3339,
// milliseconds, "Z".
const TimestampFormat = "2006-01-02T15:04:05.000Z"

// FormatTimestamp writes t as a message's timestamp.
func FormatTimestamp(t time.Time) string { return t.UTC().Format(TimestampFormat) }

// EscapeUser makes a user's name fit for a header: bytes outside printable
// ASCII, and "%", are percent-encoded.
func EscapeUser(name string) string {
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		if c >= 0x20 && c < 0x7f && c != '%' {
			b.WriteByte(c)
			continue
		}
		const digits = "0123456789ABCDEF"
		b.WriteByte('%')
		b.WriteByte(digits[c>>4])
		b.WriteByte(digits[c&0xf])
	}
	return b.String()
}

// UnescapeUser undoes EscapeUser.
func UnescapeUser(header string) (string, error) { return url.PathUnescape(header) }
