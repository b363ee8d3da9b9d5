package shift

import "palisade/internal/userns/walk"

// inodeSet is a set of inodes. It stores the bits of 64 consecutive numbers in one word, since most
// file systems assign inode numbers consecutively: a set of a million inodes takes less than 1 MiB.
type inodeSet map[walk.InodeKey]uint64

// place returns the word and the bit of an inode.
func place(key walk.InodeKey) (word walk.InodeKey, bit uint64) {
	return walk.InodeKey{FileSystem: key.FileSystem, Number: key.Number / 64}, 1 << (key.Number % 64)
}

func (s inodeSet) add(key walk.InodeKey) {
	word, bit := place(key)
	s[word] |= bit
}

func (s inodeSet) has(key walk.InodeKey) bool {
	word, bit := place(key)
	return s[word]&bit != 0
}
