package lockfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

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
