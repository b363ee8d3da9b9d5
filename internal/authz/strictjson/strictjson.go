// Package strictjson reads JSON that may be written to be read in two ways. encoding/json, by which engines decode, takes keys
// in any case, the last of several, and what stands behind a value.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// ErrTwice is the error of a key that comes twice in an object.
var ErrTwice = errors.New("a key comes twice")

// Once is a field that may be there once, in whatever case its key is written: encoding/json calls UnmarshalJSON for each.
type Once[T any] struct {
	Is    bool
	Value T
}

// UnmarshalJSON refuses a second value.
func (o *Once[T]) UnmarshalJSON(text []byte) error {
	if o.Is {
		return ErrTwice
	}
	o.Is = true
	return json.Unmarshal(text, &o.Value)
}

// Unmarshal reads a value as encoding/json does, but refuses an object with a key that comes twice, at whatever depth, and
// text behind the value. Keys that differ in case alone are two: fields of the type Once refuse them.
func Unmarshal(text []byte, value any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	if err := walk(d, 0); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("there is more behind the JSON value")
	}
	return json.Unmarshal(text, value)
}

// maxDepth is how deep a value may be nested. The configuration of a container has a depth of about six.
const maxDepth = 64

// walk reads a value, and fails of an object that has a key twice.
func walk(d *json.Decoder, depth int) error {
	t, err := d.Token()
	if err != nil {
		return err
	}
	open, ok := t.(json.Delim)
	if !ok {
		return nil
	}
	if depth > maxDepth {
		return fmt.Errorf("it is nested deeper than %d", maxDepth)
	}
	seen := make(map[string]bool)
	for d.More() {
		if open == '{' {
			key, err := d.Token()
			if err != nil {
				return err
			}
			name, _ := key.(string)
			if seen[name] {
				return fmt.Errorf("%w: %q", ErrTwice, name)
			}
			seen[name] = true
		}
		if err := walk(d, depth+1); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}
