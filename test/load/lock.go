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

// lockDirs keeps the inodes of directories locked until it is killed: it lists them into memory
// whose page faults are never resolved. It also blocks in mkdir(2) in each directory, so that other
// processes that list it block, too. It prints "locked", or "no userfaultfd".
func lockDirs(dirs []string) error {
	fd, _, errno := syscall.Syscall(userfaultfd, syscall.O_CLOEXEC|syscall.O_NONBLOCK, 0, 0)
	if errno != 0 {
		fmt.Println("no userfaultfd")
		return nil
	}
	size := len(dirs) * os.Getpagesize()
	const flags = syscall.MAP_PRIVATE | syscall.MAP_ANONYMOUS
	memory, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, flags)
	if err != nil {
		return err
	}
	at := unsafe.Pointer(unsafe.SliceData(memory))
	api := [3]uint64{0xaa}
	missing := [4]uint64{uint64(uintptr(at)), uint64(size), 1}
	_, _, errno = syscall.Syscall(syscall.SYS_IOCTL, fd, faultAPI, uintptr(unsafe.Pointer(&api)))
	if errno == 0 {
		_, _, errno = syscall.Syscall(syscall.SYS_IOCTL, fd, faultRegister,
			uintptr(unsafe.Pointer(&missing)))
	}
	if errno != 0 {
		return fmt.Errorf("userfaultfd: %w", errno)
	}
	for i, name := range dirs {
		dir, err := os.Open(name)
		if err != nil {
			return err
		}
		page := unsafe.Add(at, i*os.Getpagesize())
		go syscall.Syscall(syscall.SYS_GETDENTS64, dir.Fd(), uintptr(page), uintptr(os.Getpagesize()))
		var fault [32]byte // struct uffd_msg: the thread waits with the lock
		for n, err := 0, error(nil); n != len(fault); n, err = syscall.Read(int(fd), fault[:]) {
			if err != nil && err != syscall.EAGAIN {
				return fmt.Errorf("userfaultfd: %w", err)
			}
		}
		go syscall.Mkdir(name+"/new", 0o700)
	}
	time.Sleep(100 * time.Millisecond) // until mkdir waits
	fmt.Println("locked")
	select {}
}
