package telemetry

import (
	"context"
	"strings"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	sdklog "go.opentelemetry.io/otel/sdk/log"
)

// utf8Only is a processor that stands before those that export and makes the text
// of each record UTF-8. Protobuf refuses a message with other text whole, and all
// records of a batch are one message: a caller who has such text logged, by a
// method's name for instance, would keep the records of others from being exported.
type utf8Only struct{}

func (utf8Only) OnEmit(_ context.Context, record *sdklog.Record) error {
	record.SetBody(inUTF8(record.Body()))
	attributes := make([]attribute.KeyValue, 0, record.AttributesLen())
	record.WalkAttributes(func(a attribute.KeyValue) bool {
		attributes = append(attributes, attributeInUTF8(a))
		return true
	})
	record.SetAttributes(attributes...)
	return nil
}

// Enabled leaves it to the processors behind this one.
func (utf8Only) Enabled(context.Context, sdklog.EnabledParameters) bool { return false }

func (utf8Only) Shutdown(context.Context) error   { return nil }
func (utf8Only) ForceFlush(context.Context) error { return nil }

func attributeInUTF8(a attribute.KeyValue) attribute.KeyValue {
	return attribute.KeyValue{Key: attribute.Key(textInUTF8(string(a.Key))), Value: inUTF8(a.Value)}
}

func inUTF8(v attribute.Value) attribute.Value {
	switch v.Type() {
	case attribute.STRING:
		return attribute.StringValue(textInUTF8(v.AsString()))
	case attribute.STRINGSLICE:
		texts := v.AsStringSlice()
		for i, text := range texts {
			texts[i] = textInUTF8(text)
		}
		return attribute.StringSliceValue(texts)
	case attribute.SLICE:
		values := v.AsSlice()
		for i, value := range values {
			values[i] = inUTF8(value)
		}
		return attribute.SliceValue(values...)
	case attribute.MAP:
		members := v.AsMap()
		for i, member := range members {
			members[i] = attributeInUTF8(member)
		}
		return attribute.MapValue(members...)
	}
	return v
}

func textInUTF8(text string) string { return strings.ToValidUTF8(text, string(utf8.RuneError)) }
