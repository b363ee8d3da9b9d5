package fusedev

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"palisade/internal/linux/sys"
)

// readText is a handler whose answers show how a READ was served.
type readText struct{ Handler }

func (readText) Read(r *Request, _, _ uint64, _ int, dst []byte) ([]byte, syscall.Errno) {
	if r.MaybeAnswered {
		dst = append(dst, "again: "...)
	}
	return append(dst, "text"...), 0
}

func (readText) Rescue(_ *Request, _, _ uint64, _ int, dst []byte) ([]byte, syscall.Errno) {
	return append(dst, "rescued"...), 0
}

// TestResume finds requests in a slot that earlier processes have tried to answer, on a kernel that
// cannot be asked if one has.
func TestResume(t *testing.T) {
	for _, c := range []struct {
		name       string
		tries      uint32
		opcode     uint32
		size, want int // of the request; the errno in the answer
		text       string
	}{
		{"first", 0, opRead, readInSize, 0, "again: text"},
		{"last", maxTries - 1, opRead, readInSize, 0, "again: text"},
		{"given up", maxTries, opRead, readInSize, 0, "rescued"},
		{"given up long ago", 1000, opRead, readInSize, 0, "rescued"},
		{"cut off and given up", maxTries, opRead, inHeaderSize, -int(syscall.EIO), ""},
		{"an OPEN is given up", maxTries, opOpen, openInSize, -int(syscall.EIO), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			answer := filepath.Join(t.TempDir(), "answer")
			if err := os.WriteFile(answer, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			dev, err := sys.OpenReadWrite(answer)
			if err != nil {
				t.Fatal(err)
			}
			defer dev.Close()
			slot := make([]byte, slotSize)
			binary.NativeEndian.PutUint32(slot, c.tries)
			in := slot[requestAt:]
			for at, value := range map[int]uint32{
				0: uint32(c.size), 4: c.opcode,
				inHeaderSize + 16: 4096, inHeaderSize + 20: readLockOwner,
			} {
				binary.NativeEndian.PutUint32(in[at:], value)
			}
			pool, err := newPool(new(atomic.Uint64), new(atomic.Uint64))
			if err != nil {
				t.Fatal(err)
			}
			conn := &Conn{start: time.Now(), handler: readText{}, pool: pool}
			s := newSlot(dev, slot)
			newThread(conn, s).resume(s)
			s.clear()
			got, err := os.ReadFile(answer)
			if err != nil || len(got) < outHeaderSize {
				t.Fatalf("answer %q, %v", got, err)
			}
			errno, text := int(int32(u32(got, 4))), string(got[outHeaderSize:])
			if errno != c.want || text != c.text {
				t.Errorf("got %d, %q; want %d, %q", errno, text, c.want, c.text)
			}
			if u32(in, 0) != 0 || u32(slot, 0) != 0 {
				t.Error("slot not cleared")
			}
		})
	}
}
