package main

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"
)

// userfaultfd is the number of the system call, which package syscall lacks.
var userfaultfd = map[string]uintptr{"amd64": 323, "arm64": 282, "riscv64": 282}[runtime.GOARCH]

// Requests of linux/userfaultfd.h.
const (
	faultAPI      = 0xc018aa3f // UFFDIO_API
	faultRegister = 0xc020aa00 // UFFDIO_REGISTER
)

// missingPages is memory whose page faults are never resolved.
type missingPages struct {
	at unsafe.Pointer
	// waitForFault waits until one more thread waits for a page.
	waitForFault func() error
}

// mapMissing maps n missing pages. It returns ENOSYS, EPERM or another errno without userfaultfd(2).
func mapMissing(n int) (m missingPages, err error) {
	fd, _, errno := syscall.Syscall(userfaultfd, syscall.O_CLOEXEC|syscall.O_NONBLOCK, 0, 0)
	if errno != 0 {
		return m, errno
	}
	size := n * os.Getpagesize()
	const flags = syscall.MAP_PRIVATE | syscall.MAP_ANONYMOUS
	memory, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, flags)
	if err != nil {
		return m, err
	}
	m.at = unsafe.Pointer(unsafe.SliceData(memory))
	api := [3]uint64{0xaa}
	missing := [4]uint64{uint64(uintptr(m.at)), uint64(size), 1}
	_, _, errno = syscall.Syscall(syscall.SYS_IOCTL, fd, faultAPI, uintptr(unsafe.Pointer(&api)))
	if errno == 0 {
		_, _, errno = syscall.Syscall(syscall.SYS_IOCTL, fd, faultRegister,
			uintptr(unsafe.Pointer(&missing)))
	}
	if errno != 0 {
		return m, fmt.Errorf("userfaultfd: %w", errno)
	}
	m.waitForFault = func() error { return readFault(fd) }
	return m, nil
}

// page returns the page i.
func (m *missingPages) page(i int) unsafe.Pointer { return unsafe.Add(m.at, i*os.Getpagesize()) }

// readFault waits for a message of userfaultfd(2).
func readFault(fd uintptr) error {
	var fault [32]byte // struct uffd_msg
	for n, err := 0, error(nil); n != len(fault); n, err = syscall.Read(int(fd), fault[:]) {
		if err != nil && err != syscall.EAGAIN {
			return fmt.Errorf("userfaultfd: %w", err)
		}
	}
	return nil
}

// lockDirs keeps the inodes of directories locked until it is killed: it lists them into memory
// whose page faults are never resolved. It also blocks in mkdir(2) in each directory, so that other
// processes that list it block, too. It prints "locked", or "no userfaultfd".
func lockDirs(dirs []string) error {
	missing, err := mapMissing(len(dirs))
	if err == syscall.ENOSYS || err == syscall.EPERM {
		fmt.Println("no userfaultfd")
		return nil
	} else if err != nil {
		return err
	}
	for i, name := range dirs {
		dir, err := os.Open(name)
		if err != nil {
			return err
		}
		go syscall.Syscall(syscall.SYS_GETDENTS64, dir.Fd(), uintptr(missing.page(i)), uintptr(os.Getpagesize()))
		if err := missing.waitForFault(); err != nil { // the thread waits with the lock
			return err
		}
		go syscall.Mkdir(name+"/new", 0o700)
	}
	time.Sleep(100 * time.Millisecond) // until mkdir waits
	fmt.Println("locked")
	select {}
}
