package sys

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// ReadRegular reads a regular file of limited size. It waits for nobody, as it would at a FIFO.
func ReadRegular(path string, limit int64) ([]byte, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readLimited(f, limit)
}

func openRegular(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	return f, checkRegular(f, "read")
}

// checkRegular fails, and closes f, unless f is a regular file. op is the operation in the error.
func checkRegular(f *os.File, op string) error {
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("not a regular file (mode %v)", info.Mode())
		err = &fs.PathError{Op: op, Path: f.Name(), Err: err}
	}
	if err != nil {
		f.Close()
	}
	return err
}

func readLimited(f *os.File, limit int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		return nil, &fs.PathError{Op: "read", Path: f.Name(), Err: fmt.Errorf("it is larger than %d bytes", limit)}
	}
	return text, err
}

// OpenAppend opens the regular file at path for appending, and creates it with the mode if it is
// missing. It does not follow a symbolic link, nor block on a FIFO.
func OpenAppend(path string, mode os.FileMode) (*os.File, error) {
	const flags = os.O_WRONLY | os.O_APPEND | os.O_CREATE | syscall.O_NONBLOCK | syscall.O_NOFOLLOW
	f, err := os.OpenFile(path, flags, mode)
	if err != nil {
		return nil, err
	}
	return f, checkRegular(f, "write")
}
