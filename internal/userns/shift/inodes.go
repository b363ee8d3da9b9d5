package shift

// inodes is a set of inodes, stored as one bitmap word for 64 numbers, since most file systems
// assign inode numbers consecutively.
type inodes struct {
	words map[inodeKey]uint64
	// last is the key of the word that was used last, and word a copy of that word.
	last inodeKey
	word uint64
}

func newInodes() *inodes { return &inodes{words: make(map[inodeKey]uint64)} }

// reader returns a view of the set for use by one goroutine.
func (s *inodes) reader() *inodes { return &inodes{words: s.words, word: s.words[inodeKey{}]} }

// use loads the word of an inode, and returns the inode's bit in it.
func (s *inodes) use(key inodeKey) (bit uint64) {
	at := inodeKey{key.fs, key.number / 64}
	if at != s.last {
		s.last, s.word = at, s.words[at]
	}
	return 1 << (key.number % 64)
}

func (s *inodes) add(key inodeKey) {
	if bit := s.use(key); s.word&bit == 0 {
		s.word |= bit
		s.words[s.last] = s.word
	}
}

func (s *inodes) has(key inodeKey) bool {
	bit := s.use(key)
	return s.word&bit != 0
}

func (s *inodes) merge(o *inodes) {
	for at, word := range o.words {
		s.words[at] |= word
	}
	s.last, s.word = inodeKey{}, s.words[inodeKey{}]
}
