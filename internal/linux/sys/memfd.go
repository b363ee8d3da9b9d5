package sys

import (
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// MemfdCreate creates a memory file of size bytes (memfd_create(2)). Its size is sealed, so that a
// process that has mapped it is safe from SIGBUS. The name is shown in /proc/<pid>/fd.
func MemfdCreate(name string, size int) (File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return File{}, os.NewSyscallError("memfd_create", err)
	}
	f := File{fd + 1}
	const seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	if err = os.NewSyscallError("ftruncate memfd", unix.Ftruncate(fd, int64(size))); err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)
		err = os.NewSyscallError("fcntl F_ADD_SEALS", err)
	}
	if err != nil {
		f.Close()
	}
	return f, err
}

// ReopenReadOnly opens the file again for reading. A process that receives the result can neither
// write to it nor map it for writing.
func (f File) ReopenReadOnly() (File, error) { return Open(f.Path()) }

// Map maps the first size bytes of the file for reading and writing (MAP_SHARED).
func (f File) Map(size int) ([]byte, error) { return f.mmap(size, unix.PROT_READ|unix.PROT_WRITE) }

// MapReadOnly maps the first size bytes for reading. A write to them is fatal.
func (f File) MapReadOnly(size int) ([]byte, error) { return f.mmap(size, unix.PROT_READ) }

func (f File) mmap(size, prot int) ([]byte, error) {
	mem, err := unix.Mmap(f.Fd(), 0, size, prot, unix.MAP_SHARED)
	return mem, os.NewSyscallError("mmap", err)
}

// Unmap removes a mapping of Map or MapReadOnly. A later access to mem is fatal.
func Unmap(mem []byte) error { return os.NewSyscallError("munmap", unix.Munmap(mem)) }

// Uint32In returns the number at the beginning of mem, which must be aligned. A process that loads
// a value from the same mapping also sees all writes made before the value was stored.
func Uint32In(mem []byte) *atomic.Uint32 { return (*atomic.Uint32)(unsafe.Pointer(&mem[:4][0])) }
