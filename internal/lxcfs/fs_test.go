package lxcfs

import (
	"os"
	"syscall"
	"testing"

	"palisade/internal/linux/sys"
	"palisade/internal/lxcfs/fusedev"
)

// TestClass checks that the requests of an open file are of the class of its reader, also the
// RELEASE, which names no thread, once a READ had a class.
func TestClass(t *testing.T) {
	f, _, init := newFake(t)
	id, _ := lookupFake(t, f, "proc/uptime", init)
	open := &fusedev.Request{Node: id, TID: uint32(init), UID: 1}
	number, errno := f.Open(open, syscall.O_RDONLY)
	if errno != 0 {
		t.Fatal(errno)
	}
	release := &fusedev.Request{Node: id}
	if got := f.Class(release, number); got != 0 {
		t.Errorf("class %#x before that of the reader is known", got)
	}
	want := f.Class(open, number)
	if got := f.Class(release, number); got != want || want == 0 {
		t.Errorf("RELEASE has class %#x, want %#x", got, want)
	}
	other := &fusedev.Request{Node: id, TID: 12345, UID: 2}
	if got := f.Class(other, 0); got == want || got == 0 {
		t.Errorf("another user has class %#x, as the container", got)
	}
	if got := f.Class(other, number); got != want {
		t.Errorf("a READ of the file has class %#x, want %#x", got, want)
	}
}

func TestCPU(t *testing.T) {
	f, _, _ := newFake(t)
	if cpu, ok := f.CPU(&fusedev.Request{TID: uint32(os.Getpid())}); ok {
		t.Errorf("a process whose stat has no CPU was last running on CPU %d", cpu)
	}
	var err error
	if f.proc, err = sys.OpenDir("/proc"); err != nil {
		t.Fatal(err)
	}
	if cpu, ok := f.CPU(&fusedev.Request{TID: uint32(os.Getpid())}); !ok {
		t.Errorf("CPU %d, %t", cpu, ok)
	}
	if cpu, ok := f.CPU(&fusedev.Request{TID: 1 << 30}); ok {
		t.Errorf("a process that does not exist was last running on CPU %d", cpu)
	}
}
