package linelog

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"palisade/internal/sys"
)

// patience is how long a log file may take to open, and to take a line: a program must not hang
// with a file system that does.
const patience = time.Second

// File is a log file.
type File struct {
	f     *os.File
	mu    sync.Mutex
	stuck error
}

// Open opens a regular file to append to it, and creates it with the mode if it is missing.
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

// errStuck is the error for a file that has not answered in time.
var errStuck = errors.New("not done within a second")

// within waits for do, but not for long. What do has not done by then it does unseen.
func within(path string, do func() error) error {
	done := make(chan error, 1)
	go func() { done <- do() }()
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		return fmt.Errorf("log to %s: %w", path, errStuck)
	}
}

// Write writes lines. After a write that was not done in time, it writes nothing more.
func (f *File) Write(lines []byte) (n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stuck != nil {
		return 0, f.stuck
	}
	lines = append([]byte(nil), lines...) // which the caller uses again
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

// Close closes the file, unless a write has not been done.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stuck != nil {
		return f.stuck
	}
	return f.f.Close()
}
