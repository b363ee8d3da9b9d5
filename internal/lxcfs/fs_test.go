package lxcfs

import (
	"syscall"
	"testing"

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
