package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxJSONDepth bounds the nesting of objects and arrays; the outermost object
// is at depth 1.
const maxJSONDepth = 8

// A jsonObject is a JSON object read without leniency. Its values are string,
// json.Number, bool, nil, []any and jsonObject.
type jsonObject map[string]any

// readJSONObject reads data as exactly one JSON object (RFC 8259). Where
// encoding/json is lenient it is not: bytes that are not UTF-8, escapes of half
// a surrogate pair, and member names that occur twice are refused at any depth.
//
// Two readers of one document can then not disagree on what it says.
func readJSONObject(data []byte) (jsonObject, error) {
	if !json.Valid(data) {
		return nil, errors.New("not one well-formed JSON value")
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	value, err := readJSONValue(decoder, 0)
	if err != nil {
		return nil, err
	}
	object, ok := value.(jsonObject)
	if !ok {
		return nil, errors.New("not a JSON object")
	}
	return object, nil
}

// readJSONValue reads the next value of text that json.Valid has accepted.
func readJSONValue(decoder *json.Decoder, depth int) (any, error) {
	token, err := decoder.Token()
	if err != nil {
		return nil, err
	}
	switch token := token.(type) {
	case string:
		return token, checkJSONString(token)
	case json.Delim:
		if depth == maxJSONDepth {
			return nil, fmt.Errorf("nested more than %d deep", maxJSONDepth)
		}
		if token == '{' {
			return readJSONMembers(decoder, depth+1)
		}
		return readJSONElements(decoder, depth+1)
	default:
		return token, nil
	}
}

func readJSONMembers(decoder *json.Decoder, depth int) (any, error) {
	object := jsonObject{}
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return nil, err
		}
		name, ok := token.(string)
		if !ok {
			return nil, errors.New("a member name is not a string")
		}
		if err := checkJSONString(name); err != nil {
			return nil, err
		}
		if _, twice := object[name]; twice {
			return nil, fmt.Errorf("member %.100q occurs twice", name)
		}
		if object[name], err = readJSONValue(decoder, depth); err != nil {
			return nil, err
		}
	}
	_, err := decoder.Token()
	return object, err
}

func readJSONElements(decoder *json.Decoder, depth int) (any, error) {
	elements := []any{}
	for decoder.More() {
		element, err := readJSONValue(decoder, depth)
		if err != nil {
			return nil, err
		}
		elements = append(elements, element)
	}
	_, err := decoder.Token()
	return elements, err
}

// checkJSONString refuses U+FFFD, which encoding/json puts in the place of bytes
// that are not UTF-8 and of escapes of half a surrogate pair: two such strings may
// differ in the text and be equal once read.
func checkJSONString(s string) error {
	if strings.ContainsRune(s, utf8.RuneError) {
		return errors.New("a string is not valid UTF-8, or has half a surrogate pair or a replacement character")
	}
	return nil
}

// refuseVariants refuses a member whose name differs from one of the known names
// in case alone: a reader that ignores case, as encoding/json does, would take
// it for the known one.
func (o jsonObject) refuseVariants(known ...string) error {
	for name := range o {
		for _, exact := range known {
			if name != exact && strings.EqualFold(name, exact) {
				return fmt.Errorf("member %.100q is a case variant of %q", name, exact)
			}
		}
	}
	return nil
}

// text returns the string called name, and whether there is a member of that
// name. A member of another type, null included, is an error.
func (o jsonObject) text(name string) (value string, present bool, err error) {
	member, present := o[name]
	if !present {
		return "", false, nil
	}
	value, ok := member.(string)
	if !ok {
		return "", true, fmt.Errorf("member %q is not a string", name)
	}
	return value, true, nil
}

// required is text for a member that must be there and not be empty.
func (o jsonObject) required(name string) (string, error) {
	value, present, err := o.text(name)
	switch {
	case err != nil:
		return "", err
	case !present:
		return "", fmt.Errorf("member %q is missing", name)
	case value == "":
		return "", fmt.Errorf("member %q is empty", name)
	}
	return value, nil
}

// texts returns the array of strings called name, and whether there is a member
// of that name.
func (o jsonObject) texts(name string) (values []string, present bool, err error) {
	member, present := o[name]
	if !present {
		return nil, false, nil
	}
	elements, ok := member.([]any)
	if !ok {
		return nil, true, fmt.Errorf("member %q is not an array of strings", name)
	}
	values = make([]string, len(elements))
	for i, element := range elements {
		if values[i], ok = element.(string); !ok {
			return nil, true, fmt.Errorf("member %q is not an array of strings", name)
		}
	}
	return values, true, nil
}
