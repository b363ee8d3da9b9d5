package persist

import (
	"sync"
	"sync/atomic"
)

// Reads holds what the next worker must know of files that are being read: the length of the
// content that the reader has begun with, so that it finds its end; and the content, if one read
// did not get all of it. The zero Reads keeps nothing.
type Reads struct {
	// mu is for two files with the same record: one that an earlier worker opened, and one of this.
	mu  sync.Mutex
	mem *readsMemory
}

const (
	// MaxFiles is the number of records. A file's record is given by the lower half of its number,
	// which is from 1 to MaxFiles.
	MaxFiles = 1 << 16
	// ringSize is enough for about a thousand contents. Pages that were never used take no memory.
	ringSize   = 4 << 20
	maxContent = 256 << 10
	// preparedBit is set in fileRecord.position if the content was prepared for a read from its start.
	preparedBit = 1 << 63
)

type readsMemory struct {
	// places is the number of records that were ever taken, ringEnd that of bytes put into the ring.
	places, ringEnd atomic.Uint64
	_               [48]byte
	files           [MaxFiles]fileRecord
	// ring has the contents. The oldest is overwritten.
	ring [ringSize]byte
}

type fileRecord struct {
	number atomic.Uint64
	// length is the length of the content, and position the ringEnd at its start plus one, or 0 if
	// it is not kept.
	length, position uint64
}

// NewReads returns a Reads that is not kept for the next worker, for tests.
func NewReads() *Reads { return &Reads{mem: new(readsMemory)} }

// Places returns the number of records that all workers have ever taken, which the caller updates,
// or nil if nothing is kept.
func (k *Reads) Places() *atomic.Uint64 {
	if k.mem == nil {
		return nil
	}
	return &k.mem.places
}

func (k *Reads) record(number uint64) *fileRecord {
	i := uint32(number) - 1
	if k.mem == nil || i >= MaxFiles {
		return nil
	}
	return &k.mem.files[i]
}

// Keep records that the open file has the content, of which the reader has got the first bytes. If
// isPrepared is set, it will read the content from its start.
func (k *Reads) Keep(number uint64, content []byte, got int, isPrepared bool) {
	r := k.record(number)
	if r == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	position := uint64(0)
	if len(content) > got && len(content) <= maxContent {
		position = k.put(content) + 1
		if isPrepared {
			position |= preparedBit
		}
	}
	r.number.Store(0) // invalid until complete: the process may be killed at any time
	r.length, r.position = uint64(len(content)), position
	r.number.Store(number)
}

// put copies the content into the ring, and returns its position.
func (k *Reads) put(content []byte) uint64 {
	size := uint64(len(content))
	for {
		at := k.mem.ringEnd.Add(size) - size
		if at%ringSize+size <= ringSize {
			copy(k.mem.ring[at%ringSize:], content)
			return at
		}
	}
}

// Forget drops what is kept of a file that is closed, before its number is reused.
func (k *Reads) Forget(number uint64) {
	if r := k.record(number); r != nil {
		k.mu.Lock()
		defer k.mu.Unlock()
		r.number.CompareAndSwap(number, 0)
	}
}

// Find returns the length of the content of a file that an earlier worker opened, or 0 if nothing
// is known. It appends the content to dst if that was kept.
func (k *Reads) Find(number uint64, dst []byte) (length uint64, content []byte, isPrepared bool) {
	r := k.record(number)
	if r == nil {
		return 0, dst, false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if r.number.Load() != number {
		return 0, dst, false
	}
	at, end := r.position&^preparedBit-1, k.mem.ringEnd.Load()
	if at >= end || end-at > ringSize || r.length > maxContent || at%ringSize+r.length > ringSize {
		return r.length, dst, false
	}
	content = append(dst, k.mem.ring[at%ringSize:][:r.length]...)
	return r.length, content, r.position&preparedBit != 0
}
