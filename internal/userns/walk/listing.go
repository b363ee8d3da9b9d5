package walk

import (
	"encoding/binary"
	"iter"

	"palisade/internal/linux/sys"
)

// Codes of the files in a Listing. Others, from FirstCode on, have a meaning for visitors only.
const (
	// CodeUnknown is the code of a file of unknown type.
	CodeUnknown = iota
	CodeDir
	FirstCode
)

// Listing holds the names of the files of a directory, so that another walk need not read it.
type Listing struct {
	isRead bool
	// first and more are the parts in which the directory was read.
	first Chunk
	more  []*Chunk
}

// Chunk is one part of a Listing: for each file a code of two bytes and the name with its NUL.
type Chunk struct {
	entries []byte
	isLost  bool
}

// AppendEntry appends the entry of a file to those of a chunk.
func AppendEntry(entries []byte, name sys.Name, code uint16) []byte {
	return append(binary.NativeEndian.AppendUint16(entries, code), name...)
}

// Set stores the entries of all files of the chunk.
func (c *Chunk) Set(entries []byte) { c.entries = entries }

// SetLost makes the listing incomplete.
func (c *Chunk) SetLost() { c.isLost = true }

// IsLost reports whether SetLost was called.
func (c *Chunk) IsLost() bool { return c.isLost }

// All returns the names and codes of the files. The names are valid as long as the chunk is.
func (c *Chunk) All() iter.Seq2[sys.Name, uint16] {
	return func(yield func(sys.Name, uint16) bool) {
		for rest := c.entries; len(rest) > 0; {
			end := 2
			for rest[end] != 0 {
				end++
			}
			name := sys.Name(rest[2 : end+1 : end+1])
			if !yield(name, binary.NativeEndian.Uint16(rest)) {
				return
			}
			rest = rest[end+1:]
		}
	}
}

// next returns the chunk with the next number, nil for a nil listing.
func (l *Listing) next(number int) *Chunk {
	if l == nil {
		return nil
	}
	if number == 0 {
		return &l.first
	}
	c := new(Chunk)
	l.more = append(l.more, c)
	return c
}

// SetRead records that the listing has all parts of the directory.
func (l *Listing) SetRead() { l.isRead = true }

// IsComplete reports whether the listing has all files of the directory.
func (l *Listing) IsComplete() bool {
	if !l.isRead || l.first.isLost {
		return false
	}
	for _, c := range l.more {
		if c.isLost {
			return false
		}
	}
	return true
}
