package shift

import (
	"slices"
	"sync"

	"palisade/internal/sys"
)

// memo is what the first pass has found of the files in a directory, so that the next one need not ask for it again as long as
// the directory is the same: every change of its names changes its times, too. Files are recognized by their inodes besides.
type memo struct {
	changed sys.Time
	chunks  []*chunk
}

// chunk is what is known of the files in one part of a directory, in their order.
type chunk struct {
	owners *owners
	files  []known
	next   int
	// noting tells that it is the first pass.
	noting bool
}

// known is what is known of a file: the lower half of its inode's number, by which it is recognized, and a code.
type known struct {
	number uint32
	code   uint16
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

// begin and end stand around the visit of its files by a worker, who has space for what is noted.
func (c *chunk) begin(w *worker) {
	if c != nil && c.owners == nil {
		c.noting, c.files = true, w.known[:0]
	}
}

func (c *chunk) end(w *worker) {
	if c != nil && c.noting {
		w.known, c.noting, c.files = c.files, false, slices.Clone(c.files)
	}
}

// note remembers the code of the next file.
func (c *chunk) note(owners *owners, e *sys.Entry, code uint16) {
	if c != nil {
		c.owners = owners
		c.files = append(c.files, known{uint32(e.Number), code})
	}
}

// take is the code of the next file.
func (c *chunk) take(e *sys.Entry) uint16 {
	if c == nil || c.next >= len(c.files) {
		return lookCode
	}
	k := c.files[c.next]
	c.next++
	if k.number != uint32(e.Number) {
		return lookCode
	}
	return k.code
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
	m.made[keyOf(i)] = made
	return made
}

// settled is how much earlier than the first pass a directory must have been changed: times of files are as coarse as the
// kernel's clock tick, 10 ms at most.
const settled = 100_000_000 // ns

// of is the memo of a directory, if it was not changed since. begin is when the first pass began.
func (m *memos) of(i *sys.Inode, begin sys.Time) *memo {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := keyOf(i)
	found := m.made[key]
	delete(m.made, key)
	if found == nil || found.changed != i.Changed || i.Changed.Until(begin) < settled {
		return nil
	}
	return found
}
