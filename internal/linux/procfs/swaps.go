package procfs

import (
	"bytes"
	"errors"
)

// Swaps is the format of /proc/swaps, without the host's swap areas.
type Swaps struct {
	// Header is the first line, with its newline.
	Header []byte
	// Wide is true if columns of numbers are two tabs wide, as in Linux 5.10, but not in 5.4.
	Wide bool
}

// ParseSwaps parses the header of /proc/swaps. The result refers to text.
func ParseSwaps(text []byte) (*Swaps, error) {
	header, _ := cutLine(text)
	if !bytes.HasPrefix(header, []byte("Filename")) || !bytes.HasSuffix(header, []byte{'\n'}) {
		return nil, errors.New("no header")
	}
	return &Swaps{Header: header, Wide: bytes.Contains(header, []byte("Size\t\tUsed"))}, nil
}
