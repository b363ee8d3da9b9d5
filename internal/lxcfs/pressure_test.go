package lxcfs

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"palisade/internal/lxcfs/container"
	"palisade/internal/lxcfs/fusedev"
	"palisade/internal/lxcfs/persist"
)

// newPressure returns a file system with a host's pressure file that accepts every trigger, and a
// function that sets one as a user and returns the number of its file.
func newPressure(t *testing.T) (f *FS, set func(uid uint32) (uint64, error)) {
	t.Helper()
	f, _ = newMetered(t)
	f.opts.ProcRoot = t.TempDir()
	if err := os.Mkdir(filepath.Join(f.opts.ProcRoot, "pressure"), 0o755); err != nil {
		t.Fatal(err)
	}
	// A pipe can be written to and waited for, as a pressure file can.
	if err := syscall.Mkfifo(filepath.Join(f.opts.ProcRoot, "pressure/memory"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes() {
		if n.id == idPressureMemory {
			f.fixed.byID[n.id] = &n
		}
	}
	pid := uint32(os.Getpid())
	return f, func(uid uint32) (uint64, error) {
		number := f.files.Add(idMeminfo, 0, nil)
		r := fusedev.Request{Node: idPressureMemory, UID: uid, TID: pid}
		return number, f.writeTrigger(&r, number, []byte("some 100000 2000000"))
	}
}

// TestTriggersOfTheHost sets as many triggers as possible as users of the host, and frees them.
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
	f.triggers.quota = container.NewQuota(maxTriggers, maxTriggers+10)
	setSome(1000, maxTriggers)
	refuse(1000)
	setSome(0, 10)
	refuse(0)
	refuse(1001)
	for _, number := range numbers {
		f.Release(&fusedev.Request{}, number)
	}
	if got := f.triggers.quota.Used(); got != 0 {
		t.Errorf("%d triggers are counted when all are gone", got)
	}
	setSome(1000, 1)
}

// TestTriggersOfEarlierUsers restores triggers of an earlier process, which count for no user.
func TestTriggersOfEarlierUsers(t *testing.T) {
	f, set := newPressure(t)
	f.kept = persist.Open(filepath.Join(t.TempDir(), "guests"), 1, f.isRunning, f.opts.Log)
	for n := range uint64(maxTriggers) {
		f.kept.Triggers.Add(1<<40+n, idPressureMemory, persist.Key{}, []byte("some 100000 2000000"))
	}
	f.restoreTriggers()
	if got := f.triggers.quota.Used(); got != maxTriggers {
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
	if got := f.triggers.quota.Used(); got != 2 {
		t.Errorf("%d triggers are counted, want 2", got)
	}
}

// TestTriggersLeaveFiles checks that all triggers together use a small part of the descriptors.
func TestTriggersLeaveFiles(t *testing.T) {
	newMetered(t)
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if all := maxAllTriggers(); all <= 0 || all > persist.MaxTriggers || uint64(all) > limit.Cur/triggersPerFile {
		t.Errorf("%d triggers of %d open files", all, limit.Cur)
	}
}
