package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"securechat/client"
	"securechat/cmd/internal/cli"
)

// What others say is one line, in which nobody else seems to speak and which no
// terminal obeys, also at the end of a pipe.
func TestRoomPrinterHostile(t *testing.T) {
	for name, text := range map[string]string{
		"another's line": "yes\n2026-01-02 03:04:05 bob: no\n",
		"clears":         "\x1b[2J",
		"CSI of C1":      "\u009b2J",
		"goes back":      "mallory\ralice",
		"deletes":        "\x7f",
		"turns around":   "a\u202etxt.exe",
		"quotes":         `"\u009b` + "\u2066<&>\u0085 é 日本",
	} {
		t.Run(name, func(t *testing.T) {
			m := client.Message{User: "mallory", Text: text, Time: time.Now(), Sequence: 7, ID: "i\u009b"}
			for _, asJSON := range []bool{false, true} {
				var out bytes.Buffer
				must(t, roomPrinter(&out, "ops", asJSON)(m))
				line, rest, ended := strings.Cut(out.String(), "\n")
				if !ended || rest != "" || strings.ContainsFunc(line, cli.Steers) {
					t.Errorf("JSON %v: got %q", asJSON, &out)
				}
				if !asJSON {
					continue
				}
				var shown roomMessage
				must(t, json.Unmarshal(out.Bytes(), &shown))
				if shown.Message != text || shown.ID != m.ID {
					t.Errorf("JSON has %q, want %q", shown.Message, text)
				}
			}
		})
	}
}
