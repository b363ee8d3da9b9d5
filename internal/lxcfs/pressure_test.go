package lxcfs

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"

	"palisade/internal/lxcfs/fusedev"
)

// newPressure makes a file system with a host's pressure file that takes every trigger, and returns what a user does to set one,
// for the number of the file that has it.
func newPressure(t *testing.T) (f *FS, set func(uid uint32) (uint64, error)) {
	t.Helper()
	f, _ = newMetered(t)
	f.procRoot = t.TempDir()
	if err := os.Mkdir(filepath.Join(f.procRoot, "pressure"), 0o755); err != nil {
		t.Fatal(err)
	}
	// A pipe can be written to and waited for, as a pressure file can.
	if err := syscall.Mkfifo(filepath.Join(f.procRoot, "pressure/memory"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes() {
		if n.id == idPressureMemory {
			f.tree.byID[n.id] = &n
		}
	}
	pid := uint32(os.Getpid())
	return f, func(uid uint32) (uint64, error) {
		number := f.handles.add(idMeminfo, 0, nil)
		writer := fuse.Caller{Owner: fuse.Owner{Uid: uid}, Pid: pid}
		in := fuse.WriteIn{InHeader: fuse.InHeader{NodeId: idPressureMemory, Caller: writer}, Fh: number}
		_, err := f.writeTrigger(&in, []byte("some 100000 2000000"))
		return number, err
	}
}

// TestTriggersOfTheHost has users of the host set triggers without end, and one after the other.
func TestTriggersOfTheHost(t *testing.T) {
	f, set := newPressure(t)
	var numbers []uint64
	setSome := func(uid uint32, n int) {
		t.Helper()
		for range n {
			number, err := set(uid)
			if err != nil {
				t.Fatalf("trigger %d: %v", len(numbers), err)
			}
			numbers = append(numbers, number)
		}
	}
	refuse := func(uid uint32) {
		t.Helper()
		if _, err := set(uid); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("one more of the user %d: %v", uid, err)
		}
	}
	f.triggers.shares.all = maxTriggers + 10
	setSome(1000, maxTriggers)
	refuse(1000)
	setSome(0, 10)
	refuse(0)
	refuse(1001)
	for _, number := range numbers {
		f.Release(&fusedev.Request{}, number)
	}
	if f.triggers.shares.total != 0 || len(f.triggers.shares.taken) != 0 {
		t.Errorf("%d triggers are counted, of %v, when all are gone", f.triggers.shares.total, f.triggers.shares.taken)
	}
	setSome(1000, 1)
}

// TestTriggersOfEarlierUsers has triggers of an earlier process: they are nobody's burden who sets some now.
func TestTriggersOfEarlierUsers(t *testing.T) {
	f, set := newPressure(t)
	f.triggers.kept.mem = make([]byte, keptTriggersSize)
	for n := range uint64(maxTriggers) {
		f.triggers.kept.add(1<<40+n, idPressureMemory, nil, []byte("some 100000 2000000"))
	}
	f.restoreTriggers()
	if got := f.triggers.shares.total; got != maxTriggers {
		t.Errorf("%d triggers are counted, want %d", got, maxTriggers)
	}
	for _, uid := range []uint32{0, 1000} {
		if _, err := set(uid); err != nil {
			t.Errorf("a trigger of the user %d: %v", uid, err)
		}
	}
	for n := range uint64(maxTriggers) {
		f.Release(&fusedev.Request{}, 1<<40+n)
	}
	if got := f.triggers.shares.total; got != 2 {
		t.Errorf("%d triggers are counted, want 2", got)
	}
}

// TestTriggersLeaveFiles makes sure that all triggers together leave the most of the files that may be open.
func TestTriggersLeaveFiles(t *testing.T) {
	f, _ := newMetered(t)
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if all := f.triggers.shares.all; all <= 0 || all > keptTriggerCount || uint64(all) > limit.Cur/triggersOfFiles {
		t.Errorf("%d triggers of %d open files", all, limit.Cur)
	}
}
