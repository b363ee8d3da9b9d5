// Package lockfile excludes other processes by a locked file.
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

// Acquire locks the file, creating it and its directory, mode 0700, if need be. It waits up to wait
// for another process that has it locked. The lock is held as long as the file is open.
func Acquire(ctx context.Context, path string, wait time.Duration) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	f, err := lockWithin(ctx, path, wait)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fmt.Errorf("%s stayed locked for %v by another process", path, wait)
	}
	return f, err
}

// lockWithin is lock, but tries again for the time wait if another process has the file locked.
func lockWithin(ctx context.Context, path string, wait time.Duration) (*os.File, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		f, err := lock(path)
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return f, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// maxTries bounds the attempts to lock a file that other processes keep removing.
const maxTries = 100

// fOFDSetlk is F_OFD_SETLK, which package syscall lacks. The lock conflicts with the one that the C
// version of lxcfs takes (F_SETLK), and like that of flock(2) it belongs to the open file: it
// passes with the descriptor, and another close(2) of the file does not release it (fcntl(2)).
const fOFDSetlk = 37

// tryLock locks the whole file in both ways; earlier versions used flock(2) alone. The error is
// EWOULDBLOCK if another process has it locked in either.
func tryLock(f *os.File) error {
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return err
	}
	return syscall.FcntlFlock(f.Fd(), fOFDSetlk, &syscall.Flock_t{Type: syscall.F_WRLCK})
}

// lock opens the file at path, creating it if need be, and locks it. It does not wait: the error is
// EWOULDBLOCK if another process has it locked.
func lock(path string) (*os.File, error) {
	for range maxTries {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, err
		}
		if err := tryLock(f); err != nil {
			f.Close()
			return nil, &os.PathError{Op: "lock", Path: path, Err: err}
		}
		if isAt(f, path) {
			return f, nil
		}
		f.Close() // its last owner has removed it meanwhile
	}
	return nil, fmt.Errorf("lock %s: other processes keep replacing it", path)
}

func isAt(f *os.File, path string) bool {
	own, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Lstat(path)
	return err == nil && os.SameFile(own, there)
}
