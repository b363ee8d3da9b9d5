package persist

import (
	"encoding/binary"
	"sync"
	"sync/atomic"

	"palisade/internal/linux/sys"
)

// Reads holds what the next worker must know of files that are being read: the length of the
// content that the reader has begun with, so that it finds its end; and the content, if one read
// did not get all of it. The memory has a header, a record for each open file, and a ring of
// contents in which the oldest is overwritten. The zero Reads keeps nothing.
type Reads struct {
	// mu is for two files with the same record: one that an earlier worker opened, and one of this.
	mu  sync.Mutex
	mem []byte
}

// MaxFiles is the number of records. A file's record is given by the lower half of its number,
// which is from 1 to MaxFiles.
const MaxFiles = 1 << 16

const (
	placesAt  = 0 // uint64, see Places
	ringEndAt = 8 // uint64: the number of bytes that were ever put into the ring

	// A record has three uint64: the file's number, the length of its content, and the content's
	// position in the ring plus one, or 0 if it is not kept. preparedBit in the position is set if
	// the content is to be read from its start.
	fileRecordsAt  = 64
	fileRecordSize = 24
	ringAt         = fileRecordsAt + MaxFiles*fileRecordSize
	preparedBit    = 1 << 63

	// ringSize is enough for about a thousand contents. Pages that were never used take no memory.
	ringSize   = 4 << 20
	maxContent = 256 << 10

	// ReadsSize is the size of the memory in bytes.
	ReadsSize = ringAt + ringSize
)

// NewReads returns a Reads in mem, which has ReadsSize bytes.
func NewReads(mem []byte) *Reads { return &Reads{mem: mem} }

// Places returns the number of records that all workers have ever taken, which the caller updates,
// or nil if nothing is kept.
func (k *Reads) Places() *atomic.Uint64 {
	if k.mem == nil {
		return nil
	}
	return sys.Uint64In(k.mem[placesAt:])
}

func (k *Reads) record(number uint64) []byte {
	i := uint32(number) - 1
	if k.mem == nil || i >= MaxFiles {
		return nil
	}
	return k.mem[fileRecordsAt+i*fileRecordSize:]
}

// Keep records that the open file has the content, of which the reader has got the first bytes. If
// isPrepared is set, it will read the content from its start.
func (k *Reads) Keep(number uint64, content []byte, got int, isPrepared bool) {
	record := k.record(number)
	if record == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	position := uint64(0)
	if len(content) > got && len(content) <= maxContent {
		at := k.allocate(uint64(len(content)))
		copy(k.mem[ringAt+at%ringSize:], content)
		position = at + 1
		if isPrepared {
			position |= preparedBit
		}
	}
	sys.Uint64In(record).Store(0) // invalid until complete: the process may be killed at any time
	binary.NativeEndian.PutUint64(record[8:], uint64(len(content)))
	binary.NativeEndian.PutUint64(record[16:], position)
	sys.Uint64In(record).Store(number)
}

// Forget drops what is kept of a file that is closed, before its number is reused.
func (k *Reads) Forget(number uint64) {
	record := k.record(number)
	if record == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	sys.Uint64In(record).CompareAndSwap(number, 0)
}

// allocate takes contiguous bytes of the ring, and returns their position.
func (k *Reads) allocate(size uint64) uint64 {
	end := sys.Uint64In(k.mem[ringEndAt:])
	for {
		if at := end.Add(size) - size; at%ringSize+size <= ringSize {
			return at
		}
	}
}

// Find returns the length of the content of a file that an earlier worker opened, or 0 if nothing
// is known. It appends the content to dst if that was kept.
func (k *Reads) Find(number uint64, dst []byte) (length uint64, content []byte, isPrepared bool) {
	record := k.record(number)
	if record == nil {
		return 0, dst, false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if u64(record, 0) != number {
		return 0, dst, false
	}
	length = u64(record, 8)
	position := u64(record, 16)
	at, end := position&^preparedBit-1, u64(k.mem, ringEndAt)
	if at >= end || end-at > ringSize || length > maxContent || at%ringSize+length > ringSize {
		return length, dst, false
	}
	return length, append(dst, k.mem[ringAt+at%ringSize:][:length]...), position&preparedBit != 0
}
