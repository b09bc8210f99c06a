package auth

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func TestStrictJSONRefused(t *testing.T) {
	for _, text := range []string{
		``, ` `, `null`, `true`, `1`, `"x"`, `[]`, `[{}]`,
		`{`, `}`, `{}}`, `{}{}`, `{} {}`, `{}x`, `{},`, `{"a":1,}`, `{,}`, `{"a"}`, `{"a":}`, `{a:1}`, `{'a':1}`, `{1:1}`,
		`{"a":01}`, `{"a":+1}`, `{"a":.5}`, `{"a":1.}`, `{"a":0x1}`, `{"a":NaN}`, `{"a":Infinity}`, `{"a":-}`,
		`{"a":1}/**/`, `//` + "\n{}", "{\"a\":\"\t\"}", "{\"a\":\"\n\"}", `{"a":"\x41"}`, `{"a":"\u12"}`, `{"a":"`,
		"\uFEFF{}", "{\"a\":\"\xff\"}", "{\"\xc0\x80\":1}", "{\"a\":\"\xed\xa0\x80\"}", "{}\x00",
		`{"a":1,"a":1}`, `{"a":1,"\u0061":2}`, `{"a":{"b":1,"b":2}}`, `{"a":[{"b":1,"b":2}]}`, `{"":1,"":2}`,
		`{"a":"\ud800"}`, `{"a":"\udc00\ud800"}`, `{"\ud800":1}`, `{"a":["\udfff"]}`, "{\"a\":\"\uFFFD\"}",
		strings.Repeat(`{"a":`, 9) + `1` + strings.Repeat(`}`, 9),
		`{"a":` + strings.Repeat(`[`, 8) + strings.Repeat(`]`, 8) + `}`,
		`{"a":` + strings.Repeat(`[`, 1<<16),
	} {
		if object, err := readJSONObject([]byte(text)); err == nil {
			t.Errorf("%.60q was read as %v", text, object)
		}
	}
}

func TestStrictJSONRead(t *testing.T) {
	text := " {\"s\":\"\\ud83d\\ude00\\u0000\",\"n\":-1.5e3,\"b\":true,\"z\":null,\"a\":[1,[],{}],\"o\":{\"S\":\"\",\"s\":\"\"}}\r\n"
	want := jsonObject{
		"s": "😀\x00", "n": json.Number("-1.5e3"), "b": true, "z": nil,
		"a": []any{json.Number("1"), []any{}, jsonObject{}},
		"o": jsonObject{"S": "", "s": ""},
	}
	got, err := readJSONObject([]byte(text))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	for _, deepest := range []string{
		strings.Repeat(`{"a":`, 8) + `1` + strings.Repeat(`}`, 8),
		`{"a":` + strings.Repeat(`[`, 7) + strings.Repeat(`]`, 7) + `}`,
	} {
		if _, err := readJSONObject([]byte(deepest)); err != nil {
			t.Errorf("%s: %v", deepest, err)
		}
	}
}

// What is read is what encoding/json reads, and says everything that is there:
// writing it down again loses no member.
func FuzzStrictJSON(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"a":1,"a":2}`, `{"a":{"b":[1,"x",null,true]}}`, `{"a":"\ud800"}`, `{"a":1}x`, `[]`, "{\"a\":\"\xff\"}",
		`{"A":1,"a":1e400}`, `{"\u0061":1,"a":2}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		object, err := readJSONObject(data)
		if err != nil {
			return
		}
		decoder := json.NewDecoder(bytes.NewReader(data))
		decoder.UseNumber()
		var oracle map[string]any
		if err := decoder.Decode(&oracle); err != nil {
			t.Fatalf("%q: read, but encoding/json says %v", data, err)
		}
		if got, want := plain(object), plain(oracle); !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: read as %v, by encoding/json as %v", data, got, want)
		}
		// In valid JSON a colon outside a string follows each member name.
		if names := countMembers(object); names != countColons(data) {
			t.Fatalf("%q: %d members were read of %d", data, names, countColons(data))
		}
	})
}

// plain turns every jsonObject within value into a map, for comparison.
func plain(value any) any {
	switch value := value.(type) {
	case jsonObject:
		return plain(map[string]any(value))
	case map[string]any:
		copied := map[string]any{}
		for name, member := range value {
			copied[name] = plain(member)
		}
		return copied
	case []any:
		copied := make([]any, len(value))
		for i, element := range value {
			copied[i] = plain(element)
		}
		return copied
	}
	return value
}

func countMembers(value any) int {
	count := 0
	switch value := value.(type) {
	case jsonObject:
		for _, member := range value {
			count += 1 + countMembers(member)
		}
	case []any:
		for _, element := range value {
			count += countMembers(element)
		}
	}
	return count
}

// countColons counts the colons outside strings.
func countColons(data []byte) int {
	count, inString := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case c == ':' && !inString:
			count++
		}
	}
	return count
}
