package lxcfs

import "sync"

// owner is to whom it is counted what a reader takes of something that is there for all. The zero owner is nobody, to whom
// nothing is counted.
type owner struct {
	kind ownerKind
	// id is the number of the user, or the inode number of the container's pid namespace; 0 for the others.
	id uint64
}

type ownerKind int

const (
	nobody ownerKind = iota
	// user is for readers of the host, and of namespaces that a user other than root has made: of those, too, he could make
	// himself any number.
	user
	// machine is a container, with all that are inside it: it could make itself any number of those.
	machine
	// forgotten are the users of the host of whom an earlier process knew.
	forgotten
)

// ownerOf is the owner of what the thread tid, with the file system uid, takes. It asks nothing that may be stuck.
func (f *FS) ownerOf(tid, uid uint32) owner {
	ns, maker, err := f.finder.Outermost(tid)
	switch {
	case err != nil || ns == 0:
		return owner{user, uint64(uid)}
	case maker != 0:
		return owner{user, uint64(maker)}
	}
	return owner{machine, ns}
}

// shares bounds what each owner takes, and all together.
type shares struct {
	each, all int

	mu    sync.Mutex
	taken map[owner]int
	total int
}

func newShares(each, all int) *shares {
	return &shares{each: each, all: all, taken: make(map[owner]int)}
}

// take counts one more for o. It tells false, and counts nothing, where there would be too many.
func (s *shares) take(o owner) bool {
	if o.kind == nobody {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken[o] >= s.each || s.total >= s.all {
		return false
	}
	s.taken[o]++
	s.total++
	return true
}

// add counts one more for o, who is somebody, whatever the bounds: it is there already.
func (s *shares) add(o owner) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken[o]++
	s.total++
}

// giveBack counts one less for o.
func (s *shares) giveBack(o owner) {
	if o.kind == nobody {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total--
	if s.taken[o]--; s.taken[o] == 0 {
		delete(s.taken, o)
	}
}
