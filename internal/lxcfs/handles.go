package lxcfs

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
)

const (
	// maxHandles bounds the open files that have a handle of their own; those beyond it share handle 0, which keeps
	// nothing: their text is made anew for each read.
	maxHandles = 1 << 16
	// maxKept bounds the bytes of all snapshots together, so that one container's open files are not everybody's loss.
	maxKept = 32 << 20
	// maxSpare is the largest buffer that an unused handle keeps.
	maxSpare = 16 << 10
)

// handle is an open file. Its text is made when it is read at offset 0, and served from memory at later offsets, so that
// who reads in small pieces reads one text.
type handle struct {
	mu sync.Mutex
	// text is the snapshot, of at least one byte; empty if there is none.
	text []byte
	// trigger is the pressure trigger that was written to the file.
	trigger *trigger
}

// handles are the open files by number.
type handles struct {
	// epoch is in the upper half of all numbers, so that one that an earlier process gave is not taken for ours.
	epoch uint64
	kept  atomic.Int64
	spare sync.Pool

	mu   sync.Mutex
	open []*handle
	free []uint32
	// adopted are those of an earlier process, by its numbers.
	adopted map[uint64]*handle
}

func newHandles() *handles { return &handles{epoch: uint64(rand.Uint32()) << 32} }

// add makes a handle and returns its number; 0 where there are too many.
func (hs *handles) add() uint64 {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	if len(hs.free) == 0 {
		if len(hs.open) == maxHandles {
			return 0
		}
		hs.open = append(hs.open, nil)
		hs.free = append(hs.free, uint32(len(hs.open)-1))
	}
	i := hs.free[len(hs.free)-1]
	hs.free = hs.free[:len(hs.free)-1]
	h, _ := hs.spare.Get().(*handle)
	if h == nil {
		h = new(handle)
	}
	hs.open[i] = h
	return hs.epoch | uint64(i+1)
}

// get returns the handle of that number, nil if there is none.
func (hs *handles) get(number uint64) *handle {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	if i := number - hs.epoch - 1; i < uint64(len(hs.open)) {
		return hs.open[i]
	}
	return hs.adopted[number]
}

// adopt makes a handle for the number that an earlier process gave to a file with a trigger.
func (hs *handles) adopt(number uint64, tr *trigger) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	if hs.adopted == nil {
		hs.adopted = make(map[uint64]*handle)
	}
	hs.adopted[number] = &handle{trigger: tr}
}

// remove ends the handle of that number and returns its trigger, if it has one.
func (hs *handles) remove(number uint64) *trigger {
	h := hs.take(number)
	if h == nil {
		return nil
	}
	hs.kept.Add(-int64(len(h.text)))
	tr := h.trigger
	h.trigger, h.text = nil, h.text[:0]
	if cap(h.text) <= maxSpare {
		hs.spare.Put(h)
	}
	return tr
}

// take removes the handle from the table: from then on nobody else reaches it, since the kernel releases a file when all
// its requests are answered.
func (hs *handles) take(number uint64) *handle {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	if h := hs.adopted[number]; h != nil {
		delete(hs.adopted, number)
		return h
	}
	i := number - hs.epoch - 1
	if i >= uint64(len(hs.open)) || hs.open[i] == nil {
		return nil
	}
	h := hs.open[i]
	hs.open[i] = nil
	hs.free = append(hs.free, uint32(i))
	return h
}

// keep makes text the snapshot of h, or none where there is no room for it.
func (hs *handles) keep(h *handle, text []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	more := int64(len(text) - len(h.text))
	if hs.kept.Add(more) > maxKept && more > 0 {
		hs.kept.Add(-more - int64(len(h.text)))
		h.text = h.text[:0]
		return
	}
	h.text = append(h.text[:0], text...)
}

// appendKept appends size bytes of h's snapshot from offset on to dst. It tells whether there is a snapshot.
func (h *handle) appendKept(dst []byte, offset uint64, size int) ([]byte, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.text) == 0 {
		return dst, false
	}
	rest := h.text[min(offset, uint64(len(h.text))):]
	return append(dst, rest[:min(size, len(rest))]...), true
}
