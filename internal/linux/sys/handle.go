package sys

import (
	"encoding/binary"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Handle returns the type and file handle of the file name in the directory f, or of f if name is
// empty (name_to_handle_at(2)). It returns nil if the file system has no handles. The handle is
// stable across reboots; if it includes a generation, no later file gets the same one.
func (f File) Handle(name Name) ([]byte, error) {
	h, _, err := unix.NameToHandleAt(f.Fd(), name.String(), unix.AT_EMPTY_PATH)
	switch {
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
		return nil, nil
	case err != nil:
		return nil, os.NewSyscallError("name_to_handle_at", err)
	}
	return append(binary.LittleEndian.AppendUint32(nil, uint32(h.Type())), h.Bytes()...), nil
}

// HasHandle reports whether the file system of the directory f, which may have been opened by
// OpenDir, has a file with the handle (open_by_handle_at(2)).
func (f File) HasHandle(handle []byte) (bool, error) {
	if len(handle) < 4 {
		return false, os.NewSyscallError("open_by_handle_at", unix.EINVAL)
	}
	dir, err := f.ReopenDir()
	if err != nil {
		return false, err
	}
	defer dir.Close()
	h := unix.NewFileHandle(int32(binary.LittleEndian.Uint32(handle)), handle[4:])
	found, err := openFile(func() (int, error) {
		return unix.OpenByHandleAt(dir.Fd(), h, unix.O_PATH)
	})
	if errors.Is(err, unix.ESTALE) {
		return false, nil
	}
	if err != nil {
		return false, os.NewSyscallError("open_by_handle_at", err)
	}
	return true, found.Close()
}
