package sys

import (
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// MemfdCreate makes a file of size bytes that is in memory alone (memfd_create(2)); its size cannot be changed, so that who
// has mapped it is safe from SIGBUS. The name is for people who look at /proc/<pid>/fd.
func MemfdCreate(name string, size int) (File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return File{}, os.NewSyscallError("memfd_create", err)
	}
	f := File{fd + 1}
	if err = unix.Ftruncate(fd, int64(size)); err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL)
	}
	if err != nil {
		f.Close()
		return File{}, os.NewSyscallError("make memory", err)
	}
	return f, nil
}

// Size is the file's size in bytes.
func (f File) Size() (int64, error) {
	var st unix.Stat_t
	err := unix.Fstat(f.Fd(), &st)
	return st.Size, os.NewSyscallError("fstat", err)
}

// ReopenReadOnly opens the file once more, for reading: who is given that can neither write to it nor map it for writing.
func (f File) ReopenReadOnly() (File, error) { return Open(f.Path()) }

// Map maps the first size bytes of the file, for reading and writing, shared with all others who map it.
func (f File) Map(size int) ([]byte, error) { return f.mmap(size, unix.PROT_READ|unix.PROT_WRITE) }

// MapReadOnly maps them for reading. A write is fatal.
func (f File) MapReadOnly(size int) ([]byte, error) { return f.mmap(size, unix.PROT_READ) }

func (f File) mmap(size, prot int) ([]byte, error) {
	mem, err := unix.Mmap(f.Fd(), 0, size, prot, unix.MAP_SHARED)
	return mem, os.NewSyscallError("mmap", err)
}

// Unmap ends a mapping of Map or MapReadOnly, of which nothing may be used from then on.
func Unmap(mem []byte) error { return os.NewSyscallError("munmap", unix.Munmap(mem)) }

// Uint32In is the number at the beginning of mem, which is aligned. Who maps the same memory, or comes after this process,
// sees what is stored there only with all that was written before.
func Uint32In(mem []byte) *atomic.Uint32 { return (*atomic.Uint32)(unsafe.Pointer(&mem[:4][0])) }

// Uint64In is the same with a longer number.
func Uint64In(mem []byte) *atomic.Uint64 { return (*atomic.Uint64)(unsafe.Pointer(&mem[:8][0])) }
