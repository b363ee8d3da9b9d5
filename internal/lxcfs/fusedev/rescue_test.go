package fusedev

import (
	"encoding/binary"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// panicking is a file system whose LOOKUP panics.
type panicking struct{ fuse.RawFileSystem }

func (panicking) Lookup(<-chan struct{}, *fuse.InHeader, string, *fuse.EntryOut) fuse.Status {
	panic("in a look-up")
}

// ignoring is a handler that ignores panics.
type ignoring struct{ Handler }

func (ignoring) Panicked(any) {}

// TestFallbackErrno fails requests by a panic or a timeout: the error of a LOOKUP must not make the
// kernel unmount mounts on the files.
func TestFallbackErrno(t *testing.T) {
	fs := panicking{fuse.NewDefaultRawFileSystem()}
	conn := &Conn{handler: ignoring{}, proto: newProtocol(fs, ignoring{}.Panicked)}
	request := func(opcode uint32, arg string) []byte {
		in := append(make([]byte, inHeaderSize), arg...)
		for at, value := range map[int]uint32{0: uint32(len(in)), 4: opcode, 8: 2, 16: 1} {
			binary.NativeEndian.PutUint32(in[at:], value)
		}
		return in
	}
	for _, tt := range []struct {
		name   string
		opcode uint32
		answer func(*thread, []byte) bool
		want   syscall.Errno
	}{
		{"a look-up panics", opLookup, (*thread).dispatch, syscall.ENOMEM},
		{"a look-up is stuck", opLookup, (*thread).answerFallback, syscall.ENOMEM},
		{"an open is stuck", opOpen, (*thread).answerFallback, syscall.EIO},
	} {
		in := request(tt.opcode, "name\x00")
		th := &thread{conn: conn, out: make([]byte, 0, 64<<10)}
		th.req.parseHeader(in)
		if !tt.answer(th, in) || len(th.out) != outHeaderSize || u64(th.out, 8) != 2 {
			t.Errorf("%s: answer %q", tt.name, th.out)
		} else if got := -syscall.Errno(int32(u32(th.out, 4))); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
