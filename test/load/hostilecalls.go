package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

const pageSize = 4096

// badCalls makes calls with arguments for which the kernel returns errors, and prints the calls that
// did not return these.
func badCalls([]string) error {
	two, err := syscall.Mmap(-1, 0, 2*pageSize, syscall.PROT_READ|syscall.PROT_WRITE,
		syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		return err
	}
	at := uintptr(unsafe.Pointer(&two[0]))
	if _, _, errno := syscall.RawSyscall(syscall.SYS_MUNMAP, at+pageSize, pageSize, 0); errno != 0 {
		return os.NewSyscallError("munmap", errno)
	}
	addresses := map[string]uintptr{
		"0": 0, "1": 1, "kernel": ^uintptr(0) - pageSize + 1, "half": ^uintptr(0) >> 1, "end": ^uintptr(0),
		"across the end of a page": at + pageSize - 4,
	}
	failed := 0
	check := func(what string, errno, want syscall.Errno) {
		if errno != want {
			failed++
			fmt.Printf("%s: %d, want %d\n", what, errno, want)
		}
	}
	for name, address := range addresses {
		_, _, errno := syscall.RawSyscall(syscall.SYS_SYSINFO, address, 0, 0)
		check("sysinfo "+name, errno, syscall.EFAULT)
		_, _, errno = syscall.RawSyscall(syscall.SYS_SCHED_GETAFFINITY, 0, 1024, address)
		check("sched_getaffinity "+name, errno, syscall.EFAULT)
	}
	for name, bad := range map[string]struct {
		pid, length uintptr
		want        syscall.Errno
	}{
		"no length": {0, 0, syscall.EINVAL}, "odd length": {0, 127, syscall.EINVAL},
		"no such thread": {1 << 30, 128, syscall.ESRCH}, "negative pid": {^uintptr(0), 128, syscall.ESRCH},
	} {
		_, _, errno := syscall.RawSyscall(syscall.SYS_SCHED_GETAFFINITY, bad.pid, bad.length, at)
		check("sched_getaffinity with "+name, errno, bad.want)
	}
	fmt.Println("failed", failed)
	return nil
}

// stickCalls makes a call whose result cannot be written, since the page is never there: by
// userfaultfd(2), or in FILE of a process of hangFile. Without FILE it prints ready when a thread of
// the kernel waits for the page. It makes more such calls, and waits.
func stickCalls(args []string) error {
	threads, err := number(args, 0)
	if err != nil {
		return err
	}
	var missing missingPages
	if len(args) > 1 {
		missing, err = mapFile(args[1], threads)
	} else {
		missing, err = mapMissing(threads)
	}
	if err != nil {
		return err
	}
	for i := range threads {
		go syscall.Syscall(syscall.SYS_SYSINFO, uintptr(missing.page(i)), 0, 0)
	}
	if err := missing.waitForFault(); err != nil {
		return err
	}
	fmt.Println("ready")
	select {}
}

// mapFile maps n pages of a file whose content never arrives.
func mapFile(name string, n int) (m missingPages, err error) {
	file, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return m, err
	}
	defer file.Close()
	memory, err := syscall.Mmap(int(file.Fd()), 0, n*os.Getpagesize(), syscall.PROT_READ|syscall.PROT_WRITE,
		syscall.MAP_SHARED)
	m.at = unsafe.Pointer(unsafe.SliceData(memory))
	m.waitForFault = func() error { select {} } // only the file system notices
	return m, os.NewSyscallError("mmap", err)
}

// canary is an address at which nothing is mapped otherwise.
const canary = 0x70000000

// mapCanary maps a page at the address canary.
func mapCanary() (*[pageSize]byte, error) {
	at, _, errno := syscall.RawSyscall6(syscall.SYS_MMAP, canary, pageSize,
		syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON|mapFixed, ^uintptr(0), 0)
	if errno != 0 {
		return nil, os.NewSyscallError("mmap", errno)
	}
	return (*[pageSize]byte)(*(*unsafe.Pointer)(unsafe.Pointer(&at))), nil
}

const mapFixed = 0x10 // MAP_FIXED, which package syscall has not for all processors

// churn starts processes that call sysinfo(2) and are killed in the call, and others, which get new
// pids meanwhile, that have a page at the same address and make no call. It prints how many of these
// pages were written.
func churn(args []string) error {
	end, workers, err := secondsAndThreads(args)
	if err != nil {
		return err
	}
	var calling, watching, written atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for time.Now().Before(end) {
				caller, watcher := exec.Command("/bin/load", "victim", "call"), exec.Command("/bin/load", "victim", "watch")
				if err := caller.Start(); err != nil {
					continue
				}
				time.Sleep(time.Duration(time.Now().UnixNano() % int64(5*time.Millisecond)))
				caller.Process.Kill()
				caller.Wait()
				calling.Add(1)
				out, err := watcher.Output()
				if watching.Add(1); err != nil || strings.TrimSpace(string(out)) != "clean" {
					written.Add(1)
				}
			}
		})
	}
	wg.Wait()
	fmt.Printf("killed %d watched %d written %d\n", calling.Load(), watching.Load(), written.Load())
	return nil
}

// victim is a process of churn.
func victim(args []string) error {
	page, err := mapCanary()
	if err != nil {
		return err
	}
	if len(args) > 0 && args[0] == "call" {
		for {
			syscall.RawSyscall(syscall.SYS_SYSINFO, canary, 0, 0)
		}
	}
	time.Sleep(time.Millisecond)
	if *page != [pageSize]byte{} {
		fmt.Println("written")
		return nil
	}
	fmt.Println("clean")
	return nil
}

// cloneArgs is struct clone_args of linux/sched.h.
type cloneArgs struct {
	flags, pidfd, childTID, parentTID, exitSignal, stack, stackSize, tls, setTID, setTIDSize, cgroup uint64
}

// fork forks with the pid, or with any if it is 0. It returns 0 in the child, which may only make raw
// system calls.
func fork(pid int32) (int, error) {
	const clone3 = 435
	args := cloneArgs{exitSignal: uint64(syscall.SIGCHLD)}
	if pid != 0 {
		args.setTID, args.setTIDSize = uint64(uintptr(unsafe.Pointer(&pid))), 1
	}
	child, _, errno := syscall.RawSyscall(clone3, uintptr(unsafe.Pointer(&args)), unsafe.Sizeof(args), 0)
	if errno != 0 {
		return 0, os.NewSyscallError("clone3", errno)
	}
	return int(child), nil
}

// reusePID starts a process that stops, and makes a call when it is continued. Another process must
// kill it in this call. A second process gets its pid, and has a page at the same address. After
// a call of its own, which is answered after the first one, reusePID prints whether the page of the
// second process was written.
func reusePID([]string) error {
	page, err := mapCanary()
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	caller, err := fork(0)
	if err != nil {
		return err
	}
	if caller == 0 {
		self, _, _ := syscall.RawSyscall(syscall.SYS_GETPID, 0, 0, 0)
		syscall.RawSyscall(syscall.SYS_KILL, self, uintptr(syscall.SIGSTOP), 0)
		syscall.RawSyscall(syscall.SYS_SYSINFO, canary, 0, 0)
		syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 0, 0, 0)
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(caller, &status, syscall.WUNTRACED, nil); err != nil {
		return os.NewSyscallError("wait4", err)
	}
	fmt.Println("stopped", caller)
	if _, err := syscall.Wait4(caller, &status, 0, nil); err != nil {
		return os.NewSyscallError("wait4", err)
	}
	if !status.Signaled() {
		return fmt.Errorf("the caller returned from its call: %#x", status)
	}
	var pipe [2]int
	if err := syscall.Pipe(pipe[:]); err != nil {
		return os.NewSyscallError("pipe", err)
	}
	second, err := fork(int32(caller))
	if err != nil {
		return err
	}
	if second == 0 {
		var code uintptr
		syscall.RawSyscall(syscall.SYS_READ, uintptr(pipe[0]), uintptr(unsafe.Pointer(&code)), 1)
		if *page != [pageSize]byte{} {
			code = 1
		}
		syscall.RawSyscall(syscall.SYS_EXIT_GROUP, code, 0, 0)
	}
	fmt.Println("reused", second)
	var s syscall.Sysinfo_t
	if err := syscall.Sysinfo(&s); err != nil {
		return err
	}
	if _, err := syscall.Write(pipe[1], []byte{0}); err != nil {
		return err
	}
	if _, err := syscall.Wait4(second, &status, 0, nil); err != nil {
		return os.NewSyscallError("wait4", err)
	}
	fmt.Println("written", status.ExitStatus())
	return nil
}

// changeMapping makes calls with several threads while others map and unmap the page that they use,
// and prints the number of calls, and that of errors other than EFAULT.
func changeMapping(args []string) error {
	end, threads, err := secondsAndThreads(args)
	if err != nil {
		return err
	}
	if _, err := mapCanary(); err != nil {
		return err
	}
	var calls, wrong atomic.Int64
	var wg sync.WaitGroup
	for i := range 2 * threads {
		wg.Go(func() {
			for time.Now().Before(end) {
				if i%2 == 0 {
					syscall.RawSyscall(syscall.SYS_MUNMAP, canary, pageSize, 0)
					mapCanary()
					continue
				}
				_, _, errno := syscall.Syscall(syscall.SYS_SYSINFO, canary, 0, 0)
				if calls.Add(1); errno != 0 && errno != syscall.EFAULT {
					wrong.Add(1)
				}
			}
		})
	}
	wg.Wait()
	fmt.Printf("calls %d wrong %d\n", calls.Load(), wrong.Load())
	return nil
}
