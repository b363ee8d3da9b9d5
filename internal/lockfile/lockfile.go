// Package lockfile keeps programs from doing the same thing at once, by a file that is locked.
package lockfile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Acquire locks the file, which it makes with its folder, mode 0700, if need be (flock(2)). It waits for whoever has it, but
// not longer than wait. The lock is held as long as the file is open.
func Acquire(ctx context.Context, path string, wait time.Duration) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		f, err := lock(path)
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return f, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%s stayed locked for %v by another process", path, wait)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// maxTries bounds how often a file is opened that others remove before it is locked.
const maxTries = 100

// lock makes the file at path, if need be, and locks it. It does not wait: the error is EWOULDBLOCK then.
func lock(path string) (*os.File, error) {
	for range maxTries {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, err
		}
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			f.Close()
			return nil, &os.PathError{Op: "lock", Path: path, Err: err}
		}
		if isAt(f, path) {
			return f, nil
		}
		f.Close() // its last owner has removed it meanwhile
	}
	return nil, fmt.Errorf("lock %s: it is replaced again and again", path)
}

// isAt tells whether the file is still that at path.
func isAt(f *os.File, path string) bool {
	own, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Lstat(path)
	return err == nil && os.SameFile(own, there)
}
