package shift

import (
	"encoding/binary"
	"sync"
	"sync/atomic"

	"palisade/internal/sys"
)

// memo is what the first pass has found of a directory and the files in it, so that the next one need not ask for it again as
// long as the directory is the same: every change of its names, and of itself, changes its times, too.
type memo struct {
	changed sys.Time
	// special tells that the directory has attributes that matter.
	special bool
	// read tells that all of the directory was read.
	read bool
	// first and more are what is known of its files, as the parts of the directory were read.
	first chunk
	more  []*chunk
}

// chunk is what is known of the files in one part of a directory: for each a code of two bytes, and its name. lost is for one
// that was not noted.
type chunk struct {
	entries []byte
	lost    bool
}

// Codes of files.
const (
	// lookCode is for a file that is to be looked at, dirCode for a directory.
	lookCode = iota
	dirCode
	// firstOwner is for a file without anything but the first of the owners.
	firstOwner
)

// owner is a file's owner and group.
type owner struct{ uid, gid uint32 }

// owners are those of the files, with a code each.
type owners struct {
	mu    sync.Mutex
	codes map[owner]uint16
	list  []owner
}

// code is that of an owner; there are not many, or lookCode is all there is for the rest.
func (o *owners) code(of owner) uint16 {
	o.mu.Lock()
	defer o.mu.Unlock()
	if code, ok := o.codes[of]; ok {
		return code
	}
	code := firstOwner + len(o.list)
	if code > 1<<16-1 {
		return lookCode
	}
	o.codes[of] = uint16(code)
	o.list = append(o.list, of)
	return uint16(code)
}

// of is the owner that has a code. It is not to be called while codes are made.
func (o *owners) of(code uint16) owner { return o.list[code-firstOwner] }

// next is the chunk with the next number.
func (m *memo) next(number int) *chunk {
	if m == nil {
		return nil
	}
	if number == 0 {
		return &m.first
	}
	c := new(chunk)
	m.more = append(m.more, c)
	return c
}

// isComplete tells whether all files of the directory are known.
func (m *memo) isComplete() bool {
	if m == nil || !m.read || m.first.lost {
		return false
	}
	for _, c := range m.more {
		if c.lost {
			return false
		}
	}
	return true
}

// cut takes the first file from the entries. The name is good for as long as the memo is.
func cut(entries []byte) (name sys.Name, code uint16, rest []byte) {
	code = binary.NativeEndian.Uint16(entries)
	end := 2
	for entries[end] != 0 {
		end++
	}
	return sys.Name(entries[2 : end+1 : end+1]), code, entries[end+1:]
}

// notes are what one worker notes of the files that it visits, to be part of a chunk.
type notes struct {
	memos *memos
	buf   []byte
	// slab has room for what is kept, which is many small pieces.
	slab []byte
	// last is an owner, and its code: most files have the same.
	last     owner
	lastCode uint16
}

// slabSize is how much memory is taken for notes at once.
const slabSize = 64 << 10

func (n *notes) note(name sys.Name, code uint16) {
	n.buf = append(binary.NativeEndian.AppendUint16(n.buf, code), name...)
}

func (n *notes) noteOwner(name sys.Name, of owner) {
	if n.lastCode == 0 || of != n.last {
		n.last, n.lastCode = of, n.memos.owners.code(of)
	}
	n.note(name, n.lastCode)
}

// keep puts what was noted into the chunk, and begins anew.
func (n *notes) keep(c *chunk) {
	size := len(n.buf)
	switch {
	case c == nil:
	case n.memos.size.Add(int64(size)) > maxMemoBytes:
		c.lost = true
	case size > 0:
		if cap(n.slab)-len(n.slab) < size {
			n.slab = make([]byte, 0, max(slabSize, size))
		}
		at := len(n.slab)
		n.slab = append(n.slab, n.buf...)
		c.entries = n.slab[at : at+size : at+size]
	}
	n.buf = n.buf[:0]
}

// Bounds of what is remembered: directories, and bytes of names. The rest is asked for again.
const (
	maxMemos     = 100_000
	maxMemoBytes = 16 << 20
)

// memos are those of a tree, by the directory.
type memos struct {
	owners owners
	size   atomic.Int64

	mu   sync.Mutex
	made map[inodeKey]*memo
}

func newMemos() *memos {
	return &memos{made: make(map[inodeKey]*memo), owners: owners{codes: make(map[owner]uint16)}}
}

// make makes a memo of a directory, unless there are too many.
func (m *memos) make(i *sys.Inode) *memo {
	if m.size.Load() > maxMemoBytes {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.made) >= maxMemos {
		return nil
	}
	made := &memo{changed: i.Changed}
	m.made[keyOf(i)] = made
	return made
}

// settled is how much earlier than the first pass a directory must have been changed: times of files are as coarse as the
// kernel's clock tick, 10 ms at most.
const settled = 100_000_000 // ns

// of is the memo of a directory, if it was not changed since. begin is when the first pass began.
func (m *memos) of(i *sys.Inode, begin sys.Time) *memo {
	m.mu.Lock()
	key := keyOf(i)
	found := m.made[key]
	delete(m.made, key)
	m.mu.Unlock()
	if !found.isComplete() || found.changed != i.Changed || i.Changed.Until(begin) < settled {
		return nil
	}
	return found
}
