package linelog

import (
	"bytes"
	"context"
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
	f, err := within(path, func() (*os.File, error) { return sys.OpenAppend(path, mode) })
	if err != nil {
		return nil, err
	}
	return &File{f: f}, nil
}

var errStuck = errors.New("timed out after one second")

// within calls do, and returns errStuck after the timeout; do may still be running then.
func within[T any](path string, do func() (T, error)) (T, error) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), timeout,
		fmt.Errorf("log to %s: %w", path, errStuck))
	defer cancel()
	return sys.Within(ctx, do, func(T) {})
}

// Write writes lines. After a write that timed out, all calls fail with its error.
func (f *File) Write(lines []byte) (n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stuck != nil {
		return 0, f.stuck
	}
	lines = bytes.Clone(lines) // the caller may reuse its buffer
	n, err = within(f.f.Name(), func() (int, error) { return f.f.Write(lines) })
	if errors.Is(err, errStuck) {
		f.stuck = err
	}
	return n, err
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
