package procfs

import (
	"bytes"
	"errors"
	"math"

	"palisade/internal/linux/cpulist"
)

// cutLine splits text after its first newline, which stays in line.
func cutLine(text []byte) (line, rest []byte) {
	if i := bytes.IndexByte(text, '\n'); i >= 0 {
		return text[: i+1 : i+1], text[i+1:]
	}
	return text, nil
}

// cutField splits the first field off a line.
func cutField(line []byte) (field, rest []byte) {
	start := 0
	for start < len(line) && isSpace(line[start]) {
		start++
	}
	end := start
	for end < len(line) && !isSpace(line[end]) {
		end++
	}
	return line[start:end], line[end:]
}

// countFields returns the number of fields in a line.
func countFields(line []byte) int {
	n := 0
	for field, rest := cutField(line); len(field) > 0; field, rest = cutField(rest) {
		n++
	}
	return n
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// number parses a field of decimal digits.
func number(field []byte) (uint64, bool) {
	if len(field) == 0 {
		return 0, false
	}
	var n uint64
	for _, c := range field {
		if !isDigit(c) || n > (math.MaxUint64-9)/10 {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, true
}

// number32 parses a decimal number of 32 bits.
func number32(field []byte) (uint32, bool) {
	n, ok := number(field)
	return uint32(n), ok && n <= math.MaxUint32
}

// parseCPUs parses a CPU list, which must not be empty.
func parseCPUs(text []byte) (*cpulist.Set, error) {
	set := new(cpulist.Set)
	if err := set.Parse(text); err != nil {
		return nil, err
	}
	if set.Len() == 0 {
		return nil, errors.New("empty CPU list")
	}
	return set, nil
}
