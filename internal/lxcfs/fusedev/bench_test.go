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
	t := newThread(conn, dev, make([]byte, slotSize))
	for at, value := range map[int]uint32{
		4: opRead, 8: 2, inHeaderSize + 16: 4096, inHeaderSize + 20: readLockOwner,
	} {
		binary.NativeEndian.PutUint32(t.in[at:], value)
	}
	b.ReportAllocs()
	for b.Loop() {
		t.handle(t.in[:readInSize], time.Since(conn.start))
	}
	if n := testing.AllocsPerRun(10, func() { t.handle(t.in[:readInSize], 0) }); n != 0 {
		b.Errorf("%v allocations, want 0", n)
	}
}
