package procfs

import (
	"bytes"
	"errors"

	"palisade/internal/linux/cpulist"
	"palisade/internal/linux/ktext"
)

// cutLine splits text after its first newline, which stays in line.
func cutLine(text []byte) (line, rest []byte) {
	if i := bytes.IndexByte(text, '\n'); i >= 0 {
		return text[: i+1 : i+1], text[i+1:]
	}
	return text, nil
}

func countFields(line []byte) int {
	n := 0
	for field, rest := ktext.Field(line); len(field) > 0; field, rest = ktext.Field(rest) {
		n++
	}
	return n
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
