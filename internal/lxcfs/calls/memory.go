package calls

import (
	"errors"
	"fmt"
	"math/bits"
	"sync/atomic"
	"unsafe"

	"palisade/internal/linux/sys"
)

// MaxFilters is the number of seccomp filters that are served at a time.
const MaxFilters = 4096

// maxData is the number of bytes that an answer can write: the affinity mask of 8192 CPUs.
const maxData = 1024

// memory is shared by the supervisor, the workers and the writers. A call that one of them was
// working on when it died is known to its successor: the kernel passes a call on only once.
type memory struct {
	magic   [16]byte
	version uint32
	_       [44]byte
	// ready has the slots with an answer for the writer, freed those for which the worker waits.
	ready, freed bitmap
	_            [4096 - 64 - 2*unsafe.Sizeof(bitmap{})]byte
	slots        [MaxFilters]slot
}

var memoryMagic = [16]byte([]byte("palisade-calls\x00\x00"))

const memoryVersion = 1

// slot is the call of a filter that is being answered, one at a time. The worker receives it and
// sets the answer, the writer writes that and frees the slot.
type slot struct {
	call sys.NotifiedCall
	// answered is the ID of the call if the answer below is complete.
	answered atomic.Uint64
	// isWanted is 1 if another call waits for the slot.
	isWanted atomic.Uint32
	// crashes is the number of workers that have crashed while they computed the answer.
	crashes atomic.Uint32
	// begun is the ID of the call if a worker has begun to compute the answer.
	begun atomic.Uint64
	// The writer writes size bytes of data to address in the memory of the caller, and returns value.
	value   int64
	address uint64
	size    uint32
	data    [maxData]byte
	_       [2048 - 80 - 8 - 8 - 8 - 8 - 8 - 8 - maxData]byte
}

// id returns the ID of the call in the slot, or 0 if it is free.
func (s *slot) id() uint64 { return atomic.LoadUint64(&s.call.ID) }

// ready returns the ID of the call, and reports whether it has an answer for the writer.
func (s *slot) ready() (id uint64, ok bool) {
	id = s.id()
	return id, id != 0 && s.answered.Load() == id
}

// free frees the slot, unless it has another call than id, which another process has freed. It
// reports whether a call waits for the slot.
func (s *slot) free(id uint64) (isWanted bool) {
	s.crashes.Store(0)
	atomic.CompareAndSwapUint64(&s.call.ID, id, 0)
	return s.isWanted.CompareAndSwap(1, 0)
}

type bitmap [MaxFilters / 64]atomic.Uint64

func (b *bitmap) set(i int) { b[i/64].Or(1 << (i % 64)) }

// take clears one of the set bits, and returns its number, or -1 if none is set.
func (b *bitmap) take() int {
	for i := range b {
		for word := b[i].Load(); word != 0; word = b[i].Load() {
			bit := bits.TrailingZeros64(word)
			if b[i].And(^(uint64(1)<<bit))&(1<<bit) != 0 {
				return i*64 + bit
			}
		}
	}
	return -1
}

func (b *bitmap) isEmpty() bool {
	for i := range b {
		if b[i].Load() != 0 {
			return false
		}
	}
	return true
}

const memorySize = int(unsafe.Sizeof(memory{}))

// newMemory returns a file with the memory. Pages of slots that were never used take no memory.
func newMemory() (sys.File, *memory, error) {
	file, err := sys.MemfdCreate("lxcfs-calls", memorySize)
	if err != nil {
		return file, nil, err
	}
	mem, err := file.Map(memorySize)
	if err != nil {
		file.Close()
		return file, nil, err
	}
	m := (*memory)(unsafe.Pointer(&mem[0]))
	m.version = memoryVersion
	m.magic = memoryMagic
	return file, m, nil
}

// openMemory maps the memory of another process.
func openMemory(file sys.File) (*memory, error) {
	size, err := file.Size()
	if err != nil {
		return nil, err
	}
	if size != int64(memorySize) {
		return nil, fmt.Errorf("memory of calls has %d bytes, want %d", size, memorySize)
	}
	mem, err := file.Map(memorySize)
	if err != nil {
		return nil, err
	}
	m := (*memory)(unsafe.Pointer(&mem[0]))
	if m.magic != memoryMagic || m.version != memoryVersion {
		return nil, errors.Join(errors.New("memory of calls is of another version"), sys.Unmap(mem))
	}
	return m, nil
}
