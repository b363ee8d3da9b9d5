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
	var kept, passing []File
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
		limitOfFiles.Store(nil)
		for closeFirst() {
		}
		for _, f := range passing {
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
			t.Fatalf("file %d may not stay, though there are others", i)
		}
		kept = append(kept, f)
	}
	staying := len(kept)
	if staying < few/4 || staying > few-minPassing {
		t.Errorf("%d of %d files stay open", staying, few)
	}
	for range few - minPassing { // more than are free
		f, err := Open("/proc/self/stat")
		if err != nil {
			t.Fatalf("with %d files that stay, and %d of a moment: %v", len(kept), len(passing), err)
		}
		passing = append(passing, f)
	}
	if len(kept) == staying {
		t.Error("none was closed for those of a moment")
	}
	for closeFirst() {
	}
	if ReserveFDs(few) {
		t.Error("more files may stay than there can be")
	}
}

// TestFullTable checks that a program without LimitFiles gets EMFILE at once.
func TestFullTable(t *testing.T) {
	for err, want := range map[error]bool{
		unix.EMFILE: false, unix.ENFILE: false, errors.New("other"): false, unix.EINTR: true,
	} {
		if got := mayRetry(err, 0); got != want {
			t.Errorf("after %v an open is tried again: %v, want %v", err, got, want)
		}
	}
}
