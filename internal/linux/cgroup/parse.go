package cgroup

import (
	"bytes"
	"fmt"
	"iter"

	"palisade/internal/linux/ktext"
)

// value parses a number or "max".
func value(text []byte) (uint64, bool) {
	text = bytes.TrimSpace(text)
	if string(text) == "max" {
		return NoLimit, true
	}
	return ktext.Number(text)
}

// parseValue is like value. where is the file or its directory in the error.
func parseValue(text []byte, where string) (uint64, error) {
	n, ok := value(text)
	if !ok {
		return 0, fmt.Errorf("parse %s: %.100q is not a number", where, text)
	}
	return n, nil
}

// keyNumber parses a line "key number".
func keyNumber(line []byte) (key []byte, n uint64, ok bool) {
	key, rest := ktext.Field(line)
	n, ok = ktext.Number(bytes.TrimSpace(rest))
	return key, n, ok
}

// keyNumbers returns the lines "key number" of text, without malformed ones.
func keyNumbers(text []byte) iter.Seq2[[]byte, uint64] {
	return func(yield func([]byte, uint64) bool) {
		for line := range bytes.Lines(text) {
			if key, n, ok := keyNumber(line); ok && !yield(key, n) {
				return
			}
		}
	}
}
