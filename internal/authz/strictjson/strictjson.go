// Package strictjson rejects JSON that another parser could read differently. encoding/json, which
// engines use, accepts keys in any case, duplicate keys, and data after a value.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Once is a field that rejects a second value: encoding/json calls UnmarshalJSON for each key that
// matches the field, in any case.
type Once[T any] struct {
	IsSet bool
	Value T
}

// UnmarshalJSON implements json.Unmarshaler.
func (o *Once[T]) UnmarshalJSON(text []byte) error {
	if o.IsSet {
		return errors.New("duplicate key")
	}
	o.IsSet = true
	return json.Unmarshal(text, &o.Value)
}

// Unmarshal is json.Unmarshal, but rejects duplicate keys at any depth, and data after the value.
// It considers keys that differ in case as different; fields of the type Once do not.
func Unmarshal(text []byte, value any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	if err := walk(d, 0); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("data after the JSON value")
	}
	return json.Unmarshal(text, value)
}

// maxDepth is the limit of nesting. The configuration of a container has about six levels.
const maxDepth = 64

// walk reads a value, and returns an error if an object in it has duplicate keys.
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
		return fmt.Errorf("nested deeper than %d", maxDepth)
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
				return fmt.Errorf("duplicate key %q", name)
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
