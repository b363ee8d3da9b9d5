package cgroup

import (
	"bytes"
	"iter"
	"math"
)

// number parses the decimal number, saturated, at the start of text.
func number(text []byte) (n uint64, rest []byte, ok bool) {
	i := 0
	for ; i < len(text) && '0' <= text[i] && text[i] <= '9'; i++ {
		digit := uint64(text[i] - '0')
		if n > (math.MaxUint64-digit)/10 {
			n = math.MaxUint64
			continue
		}
		n = n*10 + digit
	}
	return n, text[i:], i > 0
}

// value parses a number or "max".
func value(text []byte) (uint64, bool) {
	text = bytes.TrimSpace(text)
	if string(text) == "max" {
		return NoLimit, true
	}
	n, rest, ok := number(text)
	return n, ok && len(rest) == 0
}

// nextLine splits the first line off text, without its newline.
func nextLine(text []byte) (line, rest []byte) {
	if i := bytes.IndexByte(text, '\n'); i >= 0 {
		return text[:i], text[i+1:]
	}
	return text, nil
}

// nextField splits the first field off a line.
func nextField(line []byte) (field, rest []byte) {
	line = bytes.TrimLeft(line, " \t")
	if i := bytes.IndexAny(line, " \t"); i >= 0 {
		return line[:i], line[i+1:]
	}
	return line, nil
}

// keyNumber parses a line "key number".
func keyNumber(line []byte) (key []byte, n uint64, ok bool) {
	key, rest := nextField(line)
	n, rest, ok = number(bytes.TrimLeft(rest, " \t"))
	return key, n, ok && len(bytes.TrimSpace(rest)) == 0
}

// keyNumbers returns the lines "key number" of text, without malformed ones.
func keyNumbers(text []byte) iter.Seq2[[]byte, uint64] {
	return func(yield func([]byte, uint64) bool) {
		for len(text) > 0 {
			var line []byte
			line, text = nextLine(text)
			if key, n, ok := keyNumber(line); ok && !yield(key, n) {
				return
			}
		}
	}
}

func saturatingAdd(a, b uint64) uint64 { return a + min(b, math.MaxUint64-a) }

func saturatingSub(a, b uint64) uint64 { return a - min(a, b) }

func saturatingMul(a, b uint64) uint64 {
	if b != 0 && a > math.MaxUint64/b {
		return math.MaxUint64
	}
	return a * b
}
