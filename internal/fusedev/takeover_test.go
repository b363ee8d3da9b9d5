package fusedev

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"palisade/internal/sys"
)

// readText answers reads, and tells of those that were given up.
type readText struct{ Handler }

func (readText) Read(r *Request, _, _ uint64, _ int, dst []byte) ([]byte, syscall.Errno) {
	if r.IsDoubtful {
		dst = append(dst, "doubtful "...)
	}
	return append(dst, "text"...), 0
}

func (readText) Rescue(_ *Request, _, _ uint64, _ int, dst []byte) ([]byte, syscall.Errno) {
	return append(dst, "rescued"...), 0
}

// TestTakeOver finds a request in a slot which other processes have tried to answer before, on a kernel that cannot be asked whether one
// has.
func TestTakeOver(t *testing.T) {
	for _, c := range []struct {
		name       string
		tries      uint32
		opcode     uint32
		size, want int // the size of the request; the error of the answer
		text       string
	}{
		{"first", 0, opRead, readInSize, 0, "doubtful text"},
		{"last", maxTries - 1, opRead, readInSize, 0, "doubtful text"},
		{"given up", maxTries, opRead, readInSize, 0, "rescued"},
		{"given up for long", 1000, opRead, readInSize, 0, "rescued"},
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
			for at, value := range map[int]uint32{0: uint32(c.size), 4: c.opcode, inHeaderSize + 16: 4096, inHeaderSize + 20: readLockOwner} {
				binary.NativeEndian.PutUint32(in[at:], value)
			}
			crew := newCrew(new(atomic.Uint64))
			conn := &Conn{began: time.Now(), handler: readText{}, crew: crew}
			newThread(conn, dev, slot).takeOver()
			got, err := os.ReadFile(answer)
			if err != nil || len(got) < outHeaderSize {
				t.Fatalf("answer %q, %v", got, err)
			}
			if errno := int(int32(u32(got, 4))); errno != c.want || string(got[outHeaderSize:]) != c.text {
				t.Errorf("answered %d, %q; want %d, %q", errno, got[outHeaderSize:], c.want, c.text)
			}
			if u32(in, 0) != 0 || u32(slot, 0) != 0 {
				t.Error("the slot is still taken")
			}
		})
	}
}
