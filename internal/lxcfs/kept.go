package lxcfs

import (
	"encoding/binary"
	"sync/atomic"

	"palisade/internal/sys"
)

// keptReads is what the next process has to know of files that are being read: how long the text is that the reader has
// begun with, so that it finds its end; and the text itself, where one read did not get all of it. It is part of the
// file of guestState.
type keptReads struct {
	mem []byte
	// next is the number of the next text.
	next atomic.Uint32
}

const (
	// For each open file: its number, and the length of its text.
	readSize = 16
	readsEnd = maxHandles * readSize
	// The last texts that were longer than what was read at once: the number of the open file, the length, the text.
	longTexts     = 16
	longHeader    = 16
	longSize      = longHeader + 256<<10
	keptReadsSize = readsEnd + longTexts*longSize
)

// keep notes that the file number has the text, of which the reader got a part.
func (k *keptReads) keep(number uint64, text []byte, got int) {
	i := uint32(number) - 1
	if k.mem == nil || i >= maxHandles {
		return
	}
	if len(text) > got && len(text) <= longSize-longHeader {
		at := readsEnd + int(k.next.Add(1)%longTexts)*longSize
		long := k.mem[at : at+longSize]
		binary.NativeEndian.PutUint64(long, 0)
		copy(long[longHeader:], text)
		binary.NativeEndian.PutUint64(long[8:], uint64(len(text)))
		sys.Uint64In(long).Store(number)
	}
	read := k.mem[i*readSize:]
	binary.NativeEndian.PutUint64(read[8:], uint64(len(text)))
	sys.Uint64In(read).Store(number)
}

// find returns the length of the text of the file that had the number in an earlier process, and the text if it was kept.
// It tells false where nothing is known.
func (k *keptReads) find(number uint64) (length int, text []byte, ok bool) {
	i := uint32(number) - 1
	if k.mem == nil || i >= maxHandles {
		return 0, nil, false
	}
	read := k.mem[i*readSize:]
	if binary.NativeEndian.Uint64(read) != number {
		return 0, nil, false
	}
	length = int(binary.NativeEndian.Uint64(read[8:]))
	for j := range longTexts {
		at := readsEnd + j*longSize
		if long := k.mem[at : at+longSize]; binary.NativeEndian.Uint64(long) == number {
			if n := binary.NativeEndian.Uint64(long[8:]); n == uint64(length) && n <= longSize-longHeader {
				return length, long[longHeader : longHeader+n], true
			}
		}
	}
	return length, nil, true
}
