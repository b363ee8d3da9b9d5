// Package openfile holds the open files of the served tree, and what their readers have begun to
// read. The content of a file is made when it is read from its start, and served from memory at
// later offsets, so that a program that reads in small pieces reads one content. The next worker
// continues with it.
package openfile

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"palisade/internal/lxcfs/container"
	"palisade/internal/lxcfs/persist"
)

const (
	// maxHandles bounds the open files with a handle. Any others have number 0; for these nothing is
	// kept, and their content is made for each read.
	maxHandles = persist.MaxFiles
	// freeForAll handles are given to any reader. Of the rest, a principal gets at most maxScarce, so
	// that no container takes all of them.
	freeForAll = maxHandles / 2
	maxScarce  = maxHandles / 16
	// maxKept bounds the bytes of the contents of all files together.
	maxKept = 32 << 20
	// maxSpare is the maximum size of the buffer that an unused handle keeps.
	maxSpare = 16 << 10
)

// Attachment is attached to an open file and closed with it.
type Attachment interface{ Close() }

// handle is an open file with a handle. They are reused.
type handle struct {
	// number is the file's number, node the id of its node, and tid the thread that opened it. newer
	// and older are its neighbours among the open files of the node. who is the principal that a
	// scarce handle is counted for, else nil. All are guarded by Table.mu.
	number, node uint64
	tid          uint32
	newer, older *handle
	who          *container.Principal
	// generation changes when earlier requests must not use the handle any more, see File.
	generation atomic.Uint64

	mu sync.Mutex
	// length is the length of the content that the reader has begun with, or 0. content is empty if
	// it is not kept.
	length  uint64
	content []byte
	// prepared is the time, since Table.began, at which content was made to tell the file's size, or
	// 0 once the file was read. preparedFor is the thread that asked for the size.
	prepared    time.Duration
	preparedFor uint32
	attachment  Attachment
	// class is that of File.Class, or 0 until it is known.
	class atomic.Uint64
}

// Table holds the open files by number. The lower half of a number is the file's record in
// persist.Reads. Records are taken in turn: those of the last worker, whose files may still be
// open, come last.
type Table struct {
	// epoch is the upper half of all numbers, to distinguish them from those of earlier workers.
	epoch uint64
	began time.Time
	reads *persist.Reads
	// base is the number of records that earlier workers have taken.
	base   uint64
	kept   atomic.Int64
	spare  sync.Pool
	scarce *container.Quota

	mu sync.Mutex
	// files has the open files by number, adopted of which earlier workers have opened.
	files   map[uint64]*handle
	adopted int
	// numbers is the number of records taken by this worker. free has the numbers of closed files.
	numbers uint64
	free    []uint64
	// newest has the file that was opened last, by node.
	newest map[uint64]*handle
}

// NewTable returns an empty table.
func NewTable() *Table {
	return &Table{
		epoch: uint64(rand.Uint32()) << 32, began: time.Now(), reads: new(persist.Reads),
		spare:  sync.Pool{New: func() any { return new(handle) }},
		scarce: container.NewQuota(maxScarce, maxHandles),
		files:  make(map[uint64]*handle), newest: make(map[uint64]*handle),
	}
}

// Restore continues with what earlier workers have kept. It must be called before the first Add.
func (t *Table) Restore(reads *persist.Reads) {
	t.reads = reads
	if places := reads.Places(); places != nil {
		t.base = places.Load()
	}
}

// isOwn reports whether this worker has opened the file with the number.
func (t *Table) isOwn(number uint64) bool { return number>>32 == t.epoch>>32 }

// Add returns the number of a new file: a node that the thread tid opens on behalf of who. It
// returns 0 if there are too many. For a nil principal it creates no scarce handle.
func (t *Table) Add(node uint64, tid uint32, who *container.Principal) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	used := int(t.numbers) - len(t.free)
	if used == maxHandles || used >= freeForAll && who == nil || !t.scarce.Take(who) {
		return 0
	}
	if len(t.free) == 0 {
		t.free = append(t.free, t.epoch|(t.base+t.numbers)%maxHandles+1)
		t.numbers++
		if places := t.reads.Places(); places != nil {
			places.Add(1)
		}
	}
	h := t.spare.Get().(*handle)
	h.class.Store(0)
	h.number, h.node, h.tid, h.who = t.free[len(t.free)-1], node, tid, who
	t.free = t.free[:len(t.free)-1]
	t.files[h.number] = h
	t.link(h)
	return h.number
}

// Get returns the open file with the number, or one without a handle.
func (t *Table) Get(number uint64) File {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.files[number]
	isRecord := uint32(number)-1 < maxHandles
	if h == nil && isRecord && !t.isOwn(number) && t.adopted < maxHandles {
		h = t.adopt(number)
	}
	return t.file(h, number)
}

// adopt returns a handle for a file that an earlier worker opened, as that left it; t.mu is held.
func (t *Table) adopt(number uint64) *handle {
	h := t.spare.Get().(*handle)
	h.class.Store(0)
	var isPrepared bool
	h.length, h.content, isPrepared = t.reads.Find(number, h.content[:0])
	h.prepared, h.preparedFor = 0, 0
	if isPrepared {
		h.prepared = 1 // just before this process began
	}
	if t.kept.Add(int64(len(h.content))) > maxKept {
		t.kept.Add(-int64(len(h.content)))
		h.content = h.content[:0]
	}
	t.files[number] = h
	t.adopted++
	return h
}

// Adopt attaches a to a file that an earlier worker opened.
func (t *Table) Adopt(number uint64, a Attachment) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.adopt(number).attachment = a
}

// Remove closes a file. Blocked requests for it, which were answered otherwise, have no effect any
// more.
func (t *Table) Remove(number uint64) {
	h := t.remove(number)
	if h == nil {
		return
	}
	if a := t.reset(h, number); a != nil {
		a.Close()
	}
	if t.isOwn(number) {
		t.mu.Lock()
		t.free = append(t.free, number)
		t.mu.Unlock()
	}
}

// remove removes a handle from the table. It returns nil if there is none.
func (t *Table) remove(number uint64) *handle {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.files[number]
	if h == nil {
		return nil
	}
	delete(t.files, number)
	if t.isOwn(number) {
		t.unlink(h)
		t.scarce.Return(h.who)
	} else {
		t.adopted--
	}
	return h
}

// reset prepares a removed handle for another file, and returns its attachment.
func (t *Table) reset(h *handle, number uint64) Attachment {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.generation.Add(1)
	t.reads.Forget(number)
	t.kept.Add(-int64(len(h.content)))
	a := h.attachment
	h.attachment, h.length, h.content, h.prepared = nil, 0, h.content[:0], 0
	if cap(h.content) <= maxSpare {
		t.spare.Put(h)
	}
	return a
}

// KeptBytes returns the size of the contents that are kept in memory.
func (t *Table) KeptBytes() int64 { return t.kept.Load() }

// link puts h before the other open files of its node; t.mu is held.
func (t *Table) link(h *handle) {
	h.newer, h.older = nil, t.newest[h.node]
	if h.older != nil {
		h.older.newer = h
	}
	t.newest[h.node] = h
}

// unlink is the inverse of link.
func (t *Table) unlink(h *handle) {
	if h.older != nil {
		h.older.newer = h.newer
	}
	switch {
	case h.newer != nil:
		h.newer.older = h.older
	case h.older != nil:
		t.newest[h.node] = h.older
	default:
		delete(t.newest, h.node)
	}
	h.newer, h.older = nil, nil
}
