package linelog

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"palisade/internal/linux/sys"
)

// timeout bounds the time to open a log file, and to write to it: a program must not hang because a
// file system does.
const timeout = time.Second

// File is a log file whose operations fail after a timeout.
type File struct {
	f     *os.File
	mu    sync.Mutex
	stuck error // the error of a write that timed out
}

// Open opens a regular file for appending, and creates it with the mode if it is missing.
func Open(path string, mode os.FileMode) (*File, error) {
	file := new(File)
	err := within(path, func() (err error) {
		f, err := sys.OpenAppend(path, mode)
		if err == nil {
			file.f = f
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return file, nil
}

// errStuck is the error for an operation that timed out.
var errStuck = errors.New("timed out after one second")

// within calls do, and returns errStuck after the timeout; do may still be running then.
func within(path string, do func() error) error {
	done := make(chan error, 1)
	go func() { done <- do() }()
	select {
	case err := <-done:
		return err
	case <-time.After(timeout):
		return fmt.Errorf("log to %s: %w", path, errStuck)
	}
}

// Write writes lines. After a write that timed out, all calls fail with its error.
func (f *File) Write(lines []byte) (n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stuck != nil {
		return 0, f.stuck
	}
	lines = append([]byte(nil), lines...) // the caller may reuse its buffer
	err = within(f.f.Name(), func() error {
		_, err := f.f.Write(lines)
		return err
	})
	if errors.Is(err, errStuck) {
		f.stuck = err
	}
	if err != nil {
		return 0, err
	}
	return len(lines), nil
}

// Close closes the file, unless a write timed out.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stuck != nil {
		return f.stuck
	}
	return f.f.Close()
}
