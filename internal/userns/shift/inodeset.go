package shift

import "palisade/internal/userns/walk"

// inodeSet is a set of inodes, stored as one bitmap word for 64 numbers, since most file systems
// assign inode numbers consecutively.
type inodeSet struct {
	words map[walk.InodeKey]uint64
	// last is the key of the word that was used last, and word a copy of that word.
	last walk.InodeKey
	word uint64
}

func newInodeSet() *inodeSet { return &inodeSet{words: make(map[walk.InodeKey]uint64)} }

// reader returns a view of the set for use by one goroutine.
func (s *inodeSet) reader() *inodeSet {
	return &inodeSet{words: s.words, word: s.words[walk.InodeKey{}]}
}

// use loads the word of an inode, and returns the inode's bit in it.
func (s *inodeSet) use(key walk.InodeKey) (bit uint64) {
	at := walk.InodeKey{FileSystem: key.FileSystem, Number: key.Number / 64}
	if at != s.last {
		s.last, s.word = at, s.words[at]
	}
	return 1 << (key.Number % 64)
}

func (s *inodeSet) add(key walk.InodeKey) {
	if bit := s.use(key); s.word&bit == 0 {
		s.word |= bit
		s.words[s.last] = s.word
	}
}

func (s *inodeSet) has(key walk.InodeKey) bool {
	bit := s.use(key)
	return s.word&bit != 0
}

func (s *inodeSet) merge(o *inodeSet) {
	for at, word := range o.words {
		s.words[at] |= word
	}
	s.last, s.word = walk.InodeKey{}, s.words[walk.InodeKey{}]
}
