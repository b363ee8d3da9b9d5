package sys

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// TestLimitFiles keeps more files open than the limit: the oldest are evicted, and no open fails,
// even when other descriptors fill the table.
func TestLimitFiles(t *testing.T) {
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	const few = 256
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: few, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	var kept, shortLived []File
	closeFirst := func() bool {
		if len(kept) == 0 {
			return false
		}
		kept[0].Close()
		kept = kept[1:]
		AddReservedFDs(-1)
		return true
	}
	defer func() {
		currentLimit.Store(nil)
		for closeFirst() {
		}
		for _, f := range shortLived {
			f.Close()
		}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
			t.Error(err)
		}
	}()
	if err := LimitFiles(closeFirst); err != nil {
		t.Fatal(err)
	}
	for i := range 3 * few {
		f, err := Open("/proc/self/stat")
		if err != nil {
			t.Fatalf("file %d: %v", i, err)
		}
		if !ReserveFDs(1) {
			t.Fatalf("file %d not reserved, though others can be evicted", i)
		}
		kept = append(kept, f)
	}
	reserved := len(kept)
	if reserved < few/4 || reserved > few-minShortLived {
		t.Errorf("%d of %d files stay open", reserved, few)
	}
	for range few - minShortLived { // more than are free
		f, err := Open("/proc/self/stat")
		if err != nil {
			t.Fatalf("with %d reserved and %d short-lived: %v", len(kept), len(shortLived), err)
		}
		shortLived = append(shortLived, f)
	}
	if len(kept) == reserved {
		t.Error("no reserved file was closed for short-lived ones")
	}
	for closeFirst() {
	}
	if ReserveFDs(few) {
		t.Error("reserved more than the limit")
	}
}

// TestFullTable checks that a program without LimitFiles gets EMFILE at once.
func TestFullTable(t *testing.T) {
	for err, want := range map[error]bool{
		unix.EMFILE: false, unix.ENFILE: false, errors.New("other"): false, unix.EINTR: true,
	} {
		calls := 0
		_, got := openFile(func() (int, error) {
			if calls++; calls > 1 {
				return 0, nil
			}
			return -1, err
		})
		if retried := calls > 1; retried != want || !retried && got != err {
			t.Errorf("%v: retried is %v, want %v; got %v", err, retried, want, got)
		}
	}
}
