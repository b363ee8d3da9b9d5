package shift

import (
	"sync"

	"palisade/internal/sys"
)

// memo is what the first pass has found of the files in a directory, so that the next one need not ask for it again as long as
// the directory is the same: every change of its names changes its times, too.
type memo struct {
	changed sys.Time
	chunks  []*chunk
}

// chunk is what is known of the files in one part of a directory, in their order.
type chunk struct {
	owners *owners
	codes  []uint16
	next   int
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

// owners are those of the files that one worker has seen.
type owners struct {
	codes map[owner]uint16
	list  []owner
}

// code is that of an owner; there are not many, or lookCode is all there is for the rest.
func (o *owners) code(of owner) uint16 {
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

// chunk is the one with a number; a new one if it is the next. Without a memo there is none.
func (m *memo) chunk(number int) *chunk {
	if m == nil {
		return nil
	}
	if number == len(m.chunks) {
		m.chunks = append(m.chunks, new(chunk))
	}
	if number < len(m.chunks) {
		return m.chunks[number]
	}
	return nil
}

// note remembers the code of the next file.
func (c *chunk) note(owners *owners, code uint16) {
	if c != nil {
		c.owners = owners
		c.codes = append(c.codes, code)
	}
}

// take is the code of the next file.
func (c *chunk) take() uint16 {
	if c == nil || c.next >= len(c.codes) {
		return lookCode
	}
	code := c.codes[c.next]
	c.next++
	return code
}

func (c *chunk) owner(code uint16) owner { return c.owners.list[code-firstOwner] }

// maxMemos bounds how many directories are remembered: a memo takes about 200 bytes.
const maxMemos = 150_000

// memos are those of a tree, by the directory.
type memos struct {
	mu   sync.Mutex
	made map[inodeKey]*memo
}

// make makes a memo of a directory, unless there are too many.
func (m *memos) make(i *sys.Inode) *memo {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.made) >= maxMemos {
		return nil
	}
	made := &memo{changed: i.Changed}
	m.made[inodeKey{i.FileSystem, i.Number}] = made
	return made
}

// settled is how much earlier than the first pass a directory must have been changed: times of files are as coarse as the
// kernel's clock tick, 10 ms at most.
const settled = 100_000_000 // ns

// of is the memo of a directory, if it was not changed since. begin is when the first pass began.
func (m *memos) of(i *sys.Inode, begin sys.Time) *memo {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := inodeKey{i.FileSystem, i.Number}
	found := m.made[key]
	delete(m.made, key)
	if found == nil || found.changed != i.Changed || i.Changed.Until(begin) < settled {
		return nil
	}
	return found
}
