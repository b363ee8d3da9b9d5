// Package ktext parses fields and numbers of the kernel's text files, and calculates with numbers
// that saturate.
package ktext

import (
	"bytes"
	"math"
)

// Field splits the first field off a line.
func Field(line []byte) (field, rest []byte) {
	line = bytes.TrimLeft(line, " \t\r\n")
	if end := bytes.IndexAny(line, " \t\r\n"); end >= 0 {
		return line[:end], line[end:]
	}
	return line, nil
}

// Number parses a field of decimal digits. A number that is too large becomes math.MaxUint64.
func Number(field []byte) (n uint64, ok bool) {
	for _, c := range field {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = Add(Mul(n, 10), uint64(c-'0'))
	}
	return n, len(field) > 0
}

// Number32 parses a decimal number of 32 bits.
func Number32(field []byte) (uint32, bool) {
	n, ok := Number(field)
	return uint32(n), ok && n <= math.MaxUint32
}

// Add returns a+b, or math.MaxUint64 on overflow.
func Add(a, b uint64) uint64 { return a + min(b, math.MaxUint64-a) }

// Sub returns a-b, or 0 if b is larger.
func Sub(a, b uint64) uint64 { return a - min(a, b) }

// Mul returns a*b, or math.MaxUint64 on overflow.
func Mul(a, b uint64) uint64 {
	if b != 0 && a > math.MaxUint64/b {
		return math.MaxUint64
	}
	return a * b
}
