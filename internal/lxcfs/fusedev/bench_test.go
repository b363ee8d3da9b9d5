package fusedev

import (
	"encoding/binary"
	"sync/atomic"
	"testing"
	"time"

	"palisade/internal/linux/sys"
)

// BenchmarkRead serves a READ without the kernel, with the answer written to /dev/null.
func BenchmarkRead(b *testing.B) {
	dev, err := sys.OpenReadWrite("/dev/null")
	if err != nil {
		b.Fatal(err)
	}
	defer dev.Close()
	pool, err := newPool(new(atomic.Uint64), new(atomic.Uint64))
	if err != nil {
		b.Fatal(err)
	}
	conn := &Conn{start: time.Now(), handler: readText{}, pool: pool}
	s := newSlot(dev, make([]byte, slotSize))
	t := newThread(conn, s)
	for at, value := range map[int]uint32{
		4: opRead, 8: 2, inHeaderSize + 16: 4096, inHeaderSize + 20: readLockOwner,
	} {
		binary.NativeEndian.PutUint32(s.in[at:], value)
	}
	s.n = readInSize
	b.ReportAllocs()
	for b.Loop() {
		t.handle(s)
	}
	if n := testing.AllocsPerRun(10, func() { t.handle(s) }); n != 0 {
		b.Errorf("%v allocations, want 0", n)
	}
}
