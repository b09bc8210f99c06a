package jetstream

import (
	"fmt"
	"log/slog"
)

// serverLog hands what an embedded server reports to a slog.Logger. What the
// server would only tell for tracing, messages among it, is dropped.
type serverLog struct{ log *slog.Logger }

func (l serverLog) Noticef(format string, args ...any) { l.log.Debug(l.text(format, args)) }
func (l serverLog) Warnf(format string, args ...any)   { l.log.Warn(l.text(format, args)) }
func (l serverLog) Errorf(format string, args ...any)  { l.log.Error(l.text(format, args)) }
func (l serverLog) Fatalf(format string, args ...any)  { l.log.Error(l.text(format, args)) }
func (l serverLog) Debugf(string, ...any)              {}
func (l serverLog) Tracef(string, ...any)              {}

func (serverLog) text(format string, args []any) string {
	return "room log: " + fmt.Sprintf(format, args...)
}
