package lxcfs

import (
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"palisade/internal/lxcfs/fusedev"
	"palisade/internal/lxcfs/openfile"
	"palisade/internal/lxcfs/persist"
)

// newSized returns a file system whose file loadavg has contents of growing length, or none if
// length is 0.
func newSized(t *testing.T) (f *FS, length *int) {
	t.Helper()
	f, _ = newMetered(t)
	f.keepSize = func(uint64) error { return nil }
	f.files.Restore(persist.NewReads())
	length = new(int)
	n := *f.fixed.byID[idLoadavg]
	n.own = func(_ *FS, dst []byte) ([]byte, error) {
		text := append(dst, make([]byte, *length)...)
		if *length > 0 {
			*length++
		}
		return text, nil
	}
	f.fixed.byID[idLoadavg] = &n
	return f, length
}

func sizeOf(t *testing.T, f *FS, tid uint32) uint64 {
	t.Helper()
	var out fuse.AttrOut
	in := fuse.GetAttrIn{InHeader: fuse.InHeader{NodeId: idLoadavg, Caller: fuse.Caller{Pid: tid}}}
	if status := newMeta(f).GetAttr(nil, &in, &out); !status.Ok() || out.Timeout() != 0 {
		t.Fatalf("attributes: %v, valid for %v", status, out.Timeout())
	}
	return out.Size
}

func lengthRead(t *testing.T, f *FS, tid uint32, number uint64) uint64 {
	t.Helper()
	r := fusedev.Request{Node: idLoadavg, TID: tid}
	text, errno := f.Read(&r, number, 0, 1<<10, nil)
	if errno != 0 {
		t.Fatalf("read: %v", errno)
	}
	return uint64(len(text))
}

func opened(t *testing.T, f *FS, tid uint32) uint64 {
	t.Helper()
	number, errno := f.Open(&fusedev.Request{Node: idLoadavg, TID: tid}, syscall.O_RDONLY)
	if errno != 0 {
		t.Fatalf("open: %v", errno)
	}
	return number
}

// TestSize looks at sizes of a file whose text grows, and reads it. Thread ids are of this process
// and of ones that do not exist.
func TestSize(t *testing.T) {
	self := uint32(os.Getpid())
	const other = 1<<22 + 1
	t.Run("not opened", func(t *testing.T) {
		f, length := newSized(t)
		*length = 10
		if got := sizeOf(t, f, self); got != 10 {
			t.Errorf("size %d, want 10", got)
		}
	})
	t.Run("opened", func(t *testing.T) {
		f, length := newSized(t)
		*length = 10
		number := opened(t, f, self)
		for range 2 {
			if got := sizeOf(t, f, self); got != 10 {
				t.Errorf("size %d, want 10", got)
			}
		}
		if got := lengthRead(t, f, self, number); got != 10 {
			t.Errorf("%d bytes read, want 10", got)
		}
		if got := sizeOf(t, f, self); got != 10 {
			t.Errorf("size %d of the text that was read, want 10", got)
		}
		if got := lengthRead(t, f, self, number); got != 11 {
			t.Errorf("%d bytes read from the start again, want 11", got)
		}
		f.Release(&fusedev.Request{Node: idLoadavg}, number)
		if f.files.LastOpened(idLoadavg, self, f.isPeer).HasHandle() || f.files.KeptBytes() != 0 {
			t.Error("a closed file is kept")
		}
	})
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil || len(threads) < 2 {
		t.Fatalf("threads: %v, %v", threads, err)
	}
	last, err := strconv.Atoi(threads[len(threads)-1].Name())
	if err != nil {
		t.Fatal(err)
	}
	thread := uint32(last)
	// The second text, of 11 bytes, is made where the first may be another reader's.
	for _, tt := range []struct {
		name                    string
		opener, statter, reader uint32
		want                    uint64
	}{
		{"opened by another thread of the process", thread, self, thread, 10},
		{"opened by another process", other, self, other, 11},
		{"read by another process", self, self, other, 11},
		{"outside of the pid namespace", 0, 0, 0, 11},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, length := newSized(t)
			*length = 10
			number := opened(t, f, tt.opener)
			if got := sizeOf(t, f, tt.statter); got != 10 {
				t.Errorf("size %d, want 10", got)
			}
			if got := lengthRead(t, f, tt.reader, number); got != tt.want {
				t.Errorf("%d bytes read, want %d", got, tt.want)
			}
		})
	}
	t.Run("read by another process, not from the start", func(t *testing.T) {
		f, length := newSized(t)
		*length = 10
		number := opened(t, f, self)
		sizeOf(t, f, self)
		r := fusedev.Request{Node: idLoadavg, TID: other}
		if text, errno := f.Read(&r, number, 4, 1<<10, nil); errno != 0 || len(text) != 7 {
			t.Errorf("%d bytes read, %v; want 7: the text is another reader's", len(text), errno)
		}
	})
	t.Run("read in pieces, not from the start", func(t *testing.T) {
		f, length := newSized(t)
		*length = 10
		number := opened(t, f, self)
		sizeOf(t, f, self)
		r := fusedev.Request{Node: idLoadavg, TID: self}
		for _, want := range []int{6, 6} {
			if text, errno := f.Read(&r, number, 4, 1<<10, nil); errno != 0 || len(text) != want {
				t.Errorf("%d bytes read, %v; want %d", len(text), errno, want)
			}
		}
	})
	t.Run("not readable", func(t *testing.T) {
		f, length := newSized(t)
		*length = 10
		f.fixed.byID[idLoadavg].mode = syscall.S_IFREG | 0o400
		var out fuse.AttrOut
		caller := fuse.Caller{Owner: fuse.Owner{Uid: 12345, Gid: 12345}, Pid: other}
		in := fuse.GetAttrIn{InHeader: fuse.InHeader{NodeId: idLoadavg, Caller: caller}}
		status := newMeta(f).GetAttr(nil, &in, &out)
		if !status.Ok() || out.Size != fileSize || *length != 10 {
			t.Errorf("%v: size %d, want %d: the caller cannot read it", status, out.Size, fileSize)
		}
	})
	t.Run("empty", func(t *testing.T) {
		f, _ := newSized(t)
		kept := uint64(0)
		f.keepSize = func(node uint64) error { kept = node; return nil }
		if got := sizeOf(t, f, self); got != 0 || kept != idLoadavg {
			t.Errorf("size %d, the kernel keeps that of node %d", got, kept)
		}
	})
	t.Run("on a mount whose modes the kernel checks", func(t *testing.T) {
		f, _ := newSized(t)
		f.fixedSizes = true
		var out fuse.AttrOut
		in := fuse.GetAttrIn{InHeader: fuse.InHeader{NodeId: idLoadavg}}
		status := newMeta(f).GetAttr(nil, &in, &out)
		if !status.Ok() || out.Size != fileSize || out.Timeout() != 24*time.Hour {
			t.Errorf("%v: size %d, valid for %v", status, out.Size, out.Timeout())
		}
	})
}

// TestSizeOfNextProcess ends the process that told the size of a file: the next one serves the text
// of that length, for this open file alone.
func TestSizeOfNextProcess(t *testing.T) {
	self := uint32(os.Getpid())
	f, length := newSized(t)
	reads := persist.NewReads()
	f.files.Restore(reads)
	*length = 10
	number, unread := opened(t, f, self), opened(t, f, self+1)
	if got := sizeOf(t, f, self); got != 10 {
		t.Errorf("size %d, want 10", got)
	}
	f.files = openfile.NewTable()
	f.files.Restore(reads)
	if got := lengthRead(t, f, self, unread); got != 11 {
		t.Errorf("%d bytes read of a file without a text, want 11", got)
	}
	for _, want := range []uint64{10, 12} {
		if got := lengthRead(t, f, self, number); got != want {
			t.Errorf("%d bytes read, want %d", got, want)
		}
	}
}

// TestRescueAttr describes a file while its text is being made: with the size of the host's text,
// which the reader then gets.
func TestRescueAttr(t *testing.T) {
	f, _ := newSized(t)
	self := uint32(os.Getpid())
	number := opened(t, f, self)
	var out fuse.AttrOut
	r := fusedev.Request{Node: idLoadavg, TID: self}
	if errno := f.RescueAttr(&r, &out); errno != 0 || out.Size == 0 || out.Size == fileSize {
		t.Errorf("size %d, %v", out.Size, errno)
	}
	if got := lengthRead(t, f, self, number); got != out.Size {
		t.Errorf("%d bytes read, want %d", got, out.Size)
	}
}
