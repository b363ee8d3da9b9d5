package lxcfs

import (
	"sync"

	"palisade/internal/lxcfs/container"
)

// shares bounds the use of a resource by each principal, and by all together. A nil principal is
// not counted.
type shares struct {
	each, all int

	mu    sync.Mutex
	taken map[*container.Principal]int
	total int
}

// forgotten stands for the users of the host that an earlier process has recorded.
var forgotten container.Principal

func newShares(each, all int) *shares {
	return &shares{each: each, all: all, taken: make(map[*container.Principal]int)}
}

// take counts one more for p, and holds p until giveBack. At a bound it returns false, and counts
// nothing.
func (s *shares) take(p *container.Principal) bool {
	if p == nil {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken[p] >= s.each || s.total >= s.all {
		return false
	}
	s.count(p)
	return true
}

// add counts one more for p, which must not be nil, regardless of the bounds: it is in use already.
func (s *shares) add(p *container.Principal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count(p)
}

func (s *shares) count(p *container.Principal) {
	p.Acquire()
	s.taken[p]++
	s.total++
}

// giveBack counts one less for p.
func (s *shares) giveBack(p *container.Principal) {
	if p == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total--
	if s.taken[p]--; s.taken[p] == 0 {
		delete(s.taken, p)
	}
	p.Release()
}
