package lockfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

func init() { exitTime = 10 * time.Millisecond }

// TestOwnWaits owns a file whose owner is about to exit.
func TestOwnWaits(t *testing.T) {
	defer func(before time.Duration) { exitTime = before }(exitTime)
	exitTime = time.Minute
	path := filepath.Join(t.TempDir(), "pid")
	first, err := Own(path)
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(30*time.Millisecond, func() { first.Close() })
	second, err := Own(path)
	if err != nil {
		t.Fatal(err)
	}
	second.Close()
}

// TestNoInotify locks and removes a file without an inotify instance.
func TestNoInotify(t *testing.T) {
	defer func() { inotifyInit1 = syscall.InotifyInit1 }()
	inotifyInit1 = func(int) (int, error) { return -1, syscall.EMFILE }
	path := filepath.Join(t.TempDir(), "pid")
	p, err := OwnPIDFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Own(path); err == nil {
		t.Error("the file is not locked")
	}
	p.Remove()
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
