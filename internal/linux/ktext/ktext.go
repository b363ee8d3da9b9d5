// Package ktext parses fields and numbers of the kernel's text files, and calculates with numbers
// that saturate.
package ktext

import "math"

// Field splits the first field off a line. Files with a line for each CPU of the host have
// thousands of fields: a loop takes half the time of bytes.IndexAny.
func Field(line []byte) (field, rest []byte) {
	start := 0
	for start < len(line) && isBlank(line[start]) {
		start++
	}
	end := start
	for end < len(line) && !isBlank(line[end]) {
		end++
	}
	return line[start:end], line[end:]
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// safeDigits is the number of decimal digits that fit in 64 bits, whatever they are.
const safeDigits = 19

// Number parses a field of decimal digits. A number that is too large becomes math.MaxUint64.
func Number(field []byte) (n uint64, ok bool) {
	for i, c := range field {
		if c < '0' || c > '9' {
			return 0, false
		}
		if digit := uint64(c - '0'); i < safeDigits {
			n = 10*n + digit
		} else {
			n = Add(Mul(n, 10), digit)
		}
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
