package sys

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// ReadRegular reads the regular file at path. It fails if the file is larger than limit bytes, and
// does not block on a FIFO.
func ReadRegular(path string, limit int64) ([]byte, error) {
	f, err := openRegular(path, "read", os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readLimited(f, limit)
}

// openRegular opens the regular file at path, without blocking on a FIFO. op is the operation in
// the error.
func openRegular(path, op string, flags int, mode os.FileMode) (*os.File, error) {
	f, err := os.OpenFile(path, flags|syscall.O_NONBLOCK, mode)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("not a regular file (mode %v)", info.Mode())
		err = &fs.PathError{Op: op, Path: path, Err: err}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func readLimited(f *os.File, limit int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("larger than %d bytes", limit)
		return nil, &fs.PathError{Op: "read", Path: f.Name(), Err: err}
	}
	return text, err
}

// OpenAppend opens the regular file at path for appending, and creates it with the mode if it is
// missing. It does not follow a symbolic link, nor block on a FIFO.
func OpenAppend(path string, mode os.FileMode) (*os.File, error) {
	const flags = os.O_WRONLY | os.O_APPEND | os.O_CREATE | syscall.O_NOFOLLOW
	return openRegular(path, "write", flags, mode)
}
