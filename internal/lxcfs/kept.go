package lxcfs

import (
	"encoding/binary"
	"sync"
	"sync/atomic"

	"palisade/internal/linux/sys"
)

// keptReads is what the next process has to know of files that are being read: how long the text is that the reader has
// begun with, so that it finds its end; and the text itself, where one read did not get all of it. It is part of the
// file of guestState: a header, a record for each place (see handles), and a ring of texts, of which the oldest is overwritten.
type keptReads struct {
	// mu is for files of which two have the same place: one of an earlier process, and one of this.
	mu  sync.Mutex
	mem []byte
}

const (
	keptEndAt  = 0 // uint64: how many places were ever taken, see handles
	keptNextAt = 8 // uint64: how many bytes were ever put into the ring
	readsAt    = 64
	// For each open file: its number, the length of its text, and where in the ring that is, plus one; 0 where it is not kept.
	// The highest bit of the place is set if the text is to be read from its start, see
	// handles.prepare.
	readSize = 24
	ringAt   = readsAt + maxHandles*readSize
	// ringSize is enough for a thousand texts of the usual length. Pages of the ring that were never used take no memory.
	ringSize      = 4 << 20
	maxRingText   = 256 << 10
	preparedBit   = 1 << 63
	keptReadsSize = ringAt + ringSize
)

// places is how many places were ever taken; nil where nothing is kept.
func (k *keptReads) places() *atomic.Uint64 {
	if k.mem == nil {
		return nil
	}
	return sys.Uint64In(k.mem[keptEndAt:])
}

func (k *keptReads) record(number uint64) []byte {
	i := uint32(number) - 1
	if k.mem == nil || i >= maxHandles {
		return nil
	}
	return k.mem[readsAt+i*readSize:]
}

// keep notes that the file number has the text, of which the reader got a part. isPrepared says
// that it will read the text from its start.
func (k *keptReads) keep(number uint64, text []byte, got int, isPrepared bool) {
	record := k.record(number)
	if record == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	at := uint64(0)
	if len(text) > got && len(text) <= maxRingText {
		at = k.take(uint64(len(text)))
		copy(k.mem[ringAt+at%ringSize:], text)
		at++
		if isPrepared {
			at |= preparedBit
		}
	}
	sys.Uint64In(record).Store(0) // whoever is killed here leaves nothing that is half written
	binary.NativeEndian.PutUint64(record[8:], uint64(len(text)))
	binary.NativeEndian.PutUint64(record[16:], at)
	sys.Uint64In(record).Store(number)
}

// forget drops what is kept of the file number, which is closed: its number may become another's.
func (k *keptReads) forget(number uint64) {
	record := k.record(number)
	if record == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if at := sys.Uint64In(record); at.Load() == number {
		at.Store(0)
	}
}

// take takes so many bytes of the ring in one piece, and returns how many were taken before.
func (k *keptReads) take(size uint64) uint64 {
	next := sys.Uint64In(k.mem[keptNextAt:])
	for {
		if at := next.Add(size) - size; at%ringSize+size <= ringSize {
			return at
		}
	}
}

// find returns the length of the text of the file that had the number in an earlier process, and appends the text to dst if it
// was kept. The length is 0 where nothing is known.
func (k *keptReads) find(
	number uint64, dst []byte,
) (length uint64, text []byte, isPrepared bool) {
	record := k.record(number)
	if record == nil {
		return 0, dst, false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if binary.NativeEndian.Uint64(record) != number {
		return 0, dst, false
	}
	length = binary.NativeEndian.Uint64(record[8:])
	place := binary.NativeEndian.Uint64(record[16:])
	at := place&^preparedBit - 1
	next := sys.Uint64In(k.mem[keptNextAt:]).Load()
	if at >= next || next-at > ringSize || length > maxRingText || at%ringSize+length > ringSize {
		return length, dst, false
	}
	return length, append(dst, k.mem[ringAt+at%ringSize:][:length]...), place&preparedBit != 0
}
