package shift

// inodes is a set of inodes: of 64 numbers at a time, as most file systems give them to files one
// after the other.
type inodes struct {
	words map[inodeKey]uint64
	// last is the key of the word that was used last.
	last inodeKey
	word uint64
}

func newInodes() *inodes { return &inodes{words: make(map[inodeKey]uint64)} }

// reader returns the same set, to be read by one goroutine.
func (s *inodes) reader() *inodes { return &inodes{words: s.words, word: s.words[inodeKey{}]} }

// use makes the word of an inode the last one, and returns its bit.
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
