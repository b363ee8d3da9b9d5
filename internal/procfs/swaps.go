package procfs

import (
	"bytes"
	"errors"
)

// Swaps is the form of /proc/swaps; its lines are the host's own business.
type Swaps struct {
	// Header is the first line, with its newline.
	Header []byte
	// Wide tells that the columns of numbers are two tabs wide, as in newer kernels: 5.10 has them so, 5.4 has not.
	Wide bool
}

// ParseSwaps reads the text of /proc/swaps, which it keeps.
func ParseSwaps(text []byte) (*Swaps, error) {
	header, _ := cutLine(text)
	if !bytes.HasPrefix(header, []byte("Filename")) || !bytes.HasSuffix(header, []byte{'\n'}) {
		return nil, errors.New("no header")
	}
	return &Swaps{Header: header, Wide: bytes.Contains(header, []byte("Size\t\tUsed"))}, nil
}
