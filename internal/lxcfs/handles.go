package lxcfs

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"palisade/internal/lxcfs/container"
)

const (
	// maxHandles bounds the open files that have a handle of their own; those beyond it share handle 0, which keeps
	// nothing: their text is made anew for each read.
	maxHandles = 1 << 16
	// freeForAll handles are given to any reader. Of the rest, a principal gets at most maxScarce, so
	// that no container takes all of them.
	freeForAll = maxHandles / 2
	maxScarce  = maxHandles / 16
	// maxKept bounds the bytes of all snapshots together, so that one container's open files are not everybody's loss.
	maxKept = 32 << 20
	// maxSpare is the largest buffer that an unused handle keeps.
	maxSpare = 16 << 10
)

// handle is an open file. Its text is made when it is read at offset 0, and served from memory at later offsets, so that
// who reads in small pieces reads one text.
type handle struct {
	mu sync.Mutex
	// number is the handle's own; node is the file, and tid the thread that has opened it. They are
	// guarded by handles.mu.
	number, node uint64
	tid          uint32
	// newer and older are the neighbours among the open files of the node, guarded by handles.mu.
	newer, older *handle
	// turn grows whenever requests that were begun with before may not change the handle any more, see openFile.
	turn atomic.Uint64
	// length is that of the text that the reader has begun with, 0 if it has not; text is that text, empty where it is not
	// kept.
	length uint64
	text   []byte
	// prepared is the time since handles.began at which text was made to tell the file's size, 0 after
	// the file was read; preparedFor is the thread that asked for the size.
	prepared    time.Duration
	preparedFor uint32
	// trigger is the pressure trigger that was written to the file.
	trigger *trigger
	// who is the principal that the handle is counted to if it is one of the scarce ones, or nil;
	// guarded by handles.mu.
	who *container.Principal
}

// openFile is a handle as it was when a request came. A request that is stuck is answered by somebody else, and comes back
// when its reader has gone on or has closed the file: then the handle may be that of another's file already.
type openFile struct {
	h    *handle
	turn uint64
}

// lock locks the handle, for h.mu.Unlock. It tells false, and locks nothing, where there is none, or it is not the request's
// any more.
func (o openFile) lock() bool {
	if o.h == nil {
		return false
	}
	o.h.mu.Lock()
	if o.h.turn.Load() != o.turn {
		o.h.mu.Unlock()
		return false
	}
	return true
}

// handles are the open files by number. The lower half of a number is the file's place, from 1 on. Places go round: those of
// the process before, whose files may still be open, are taken last, since what is kept of files is kept by their places.
type handles struct {
	// epoch is in the upper half of all numbers, so that one that an earlier process gave is not taken for ours.
	epoch uint64
	began time.Time
	// reads is what is kept for the next process, base how many places earlier ones have taken.
	reads *keptReads
	base  uint64
	kept  atomic.Int64
	spare sync.Pool
	// scarce are those beyond freeForAll.
	scarce *shares

	mu   sync.Mutex
	open []*handle
	free []uint32
	// newest has the file that was opened last, by node.
	newest map[uint64]*handle
	// adopted are those of an earlier process that were used since, by its numbers.
	adopted map[uint64]*handle
}

func newHandles() *handles {
	return &handles{
		epoch: uint64(rand.Uint32()) << 32, began: time.Now(), reads: new(keptReads),
		scarce: newShares(maxScarce, maxHandles),
		newest: make(map[uint64]*handle), adopted: make(map[uint64]*handle),
	}
}

// goOn takes up what earlier processes have kept. It is called before the first file is opened.
func (hs *handles) goOn(reads *keptReads) {
	hs.reads = reads
	if places := reads.places(); places != nil {
		hs.base = places.Load()
	}
}

// number is that of the handle with the index i, index the other way round, and something too large for numbers of nobody.
func (hs *handles) number(i uint32) uint64 { return hs.epoch | (hs.base+uint64(i))%maxHandles + 1 }

func (hs *handles) index(number uint64) uint64 {
	place := number - hs.epoch - 1
	if place >= maxHandles {
		return maxHandles
	}
	return (place - hs.base) % maxHandles
}

// add creates a handle for a node that the thread tid opens on behalf of who, and returns its
// number, or 0 if there are too many. For nil it creates only handles that are not scarce.
func (hs *handles) add(node uint64, tid uint32, who *container.Principal) uint64 {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	used := len(hs.open) - len(hs.free)
	if used == maxHandles || used >= freeForAll && who == nil || !hs.scarce.take(who) {
		return 0
	}
	if len(hs.free) == 0 {
		hs.open = append(hs.open, nil)
		hs.free = append(hs.free, uint32(len(hs.open)-1))
		if places := hs.reads.places(); places != nil {
			places.Add(1)
		}
	}
	i := hs.free[len(hs.free)-1]
	hs.free = hs.free[:len(hs.free)-1]
	h := hs.newHandle()
	h.who = who
	h.number, h.node, h.tid = hs.number(i), node, tid
	hs.open[i] = h
	hs.link(h)
	return h.number
}

// get returns the open file of that number, one without a handle if there is none. A file that an earlier process has opened
// gets one when it is first asked for.
func (hs *handles) get(number uint64) openFile {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	h := hs.adopted[number]
	switch i := hs.index(number); {
	case i < uint64(len(hs.open)):
		h = hs.open[i]
	case i >= maxHandles && uint32(number)-1 < maxHandles && h == nil && len(hs.adopted) < maxHandles:
		h = hs.adopt(number)
	}
	if h == nil {
		return openFile{}
	}
	return openFile{h, h.turn.Load()}
}

// adopt makes the handle of a file that an earlier process has opened, as that left it; hs.mu is held.
func (hs *handles) adopt(number uint64) *handle {
	h := hs.newHandle()
	var isPrepared bool
	h.length, h.text, isPrepared = hs.reads.find(number, h.text[:0])
	h.prepared, h.preparedFor = 0, 0
	if isPrepared {
		h.prepared = 1 // the last process did that a moment before this one began
	}
	if hs.kept.Add(int64(len(h.text))) > maxKept {
		hs.kept.Add(-int64(len(h.text)))
		h.text = h.text[:0]
	}
	hs.adopted[number] = h
	return h
}

func (hs *handles) newHandle() *handle {
	if h, ok := hs.spare.Get().(*handle); ok {
		return h
	}
	return new(handle)
}

// renew is get for who answers in the place of a request that is stuck: what that does in the end is of no effect.
func (hs *handles) renew(number uint64) openFile {
	o := hs.get(number)
	if o.h != nil {
		o.turn = o.h.turn.Add(1)
	}
	return o
}

// restore gives the trigger back to the file that an earlier process has set it on.
func (hs *handles) restore(number uint64, tr *trigger) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	hs.adopt(number).trigger = tr
}

// remove ends the handle of that number and returns its trigger, if it has one. The kernel releases a file when all its
// requests are answered; those that somebody else has answered may still be under way.
func (hs *handles) remove(number uint64) *trigger {
	h, i := hs.take(number)
	if h == nil {
		return nil
	}
	tr := hs.empty(h, number)
	if i < maxHandles {
		hs.mu.Lock()
		hs.free = append(hs.free, uint32(i))
		hs.mu.Unlock()
	}
	return tr
}

// take removes the handle from the table and returns its index, one that is too large where it was adopted. Nobody gets the
// index before it is put among those that are free.
func (hs *handles) take(number uint64) (*handle, uint64) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	if h := hs.adopted[number]; h != nil {
		delete(hs.adopted, number)
		return h, maxHandles
	}
	i := hs.index(number)
	if i >= uint64(len(hs.open)) {
		return nil, i
	}
	h := hs.open[i]
	if h != nil {
		hs.unlink(h)
		hs.open[i] = nil
		hs.scarce.giveBack(h.who)
	}
	return h, i
}

// empty makes a handle that was taken ready for another file, and returns its trigger.
func (hs *handles) empty(h *handle, number uint64) *trigger {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.turn.Add(1)
	hs.reads.forget(number)
	hs.kept.Add(-int64(len(h.text)))
	tr := h.trigger
	h.trigger, h.length, h.text, h.prepared = nil, 0, h.text[:0], 0
	if cap(h.text) <= maxSpare {
		hs.spare.Put(h)
	}
	return tr
}

// keep makes text the snapshot of the file number, or none where there is no room for it; of text the reader has got so many
// bytes.
func (hs *handles) keep(o openFile, number uint64, text []byte, got int) {
	if !o.lock() {
		return
	}
	h := o.h
	defer h.mu.Unlock()
	h.prepared = 0
	hs.set(h, number, text, got, false)
}

// set makes text the snapshot of the file; h.mu is held.
func (hs *handles) set(h *handle, number uint64, text []byte, got int, isPrepared bool) {
	hs.reads.keep(number, text, got, isPrepared)
	h.length = uint64(len(text))
	more := int64(len(text) - len(h.text))
	if hs.kept.Add(more) > maxKept && more > 0 {
		hs.kept.Add(-more - int64(len(h.text)))
		h.text = h.text[:0]
		return
	}
	h.text = append(h.text[:0], text...)
}

// appendKept appends size bytes of the file's snapshot from offset on to dst. It tells whether it could: of a snapshot that is
// not kept only the end is known, and a text that was prepared may be for another reader.
func (o openFile) appendKept(dst []byte, offset uint64, size int) ([]byte, bool) {
	if !o.lock() {
		return dst, false
	}
	h := o.h
	defer h.mu.Unlock()
	if h.prepared != 0 {
		return dst, false
	}
	if len(h.text) == 0 {
		return dst, offset > 0 && h.length > 0 && offset >= h.length
	}
	rest := h.text[min(offset, uint64(len(h.text))):]
	return append(dst, rest[:min(size, len(rest))]...), true
}
