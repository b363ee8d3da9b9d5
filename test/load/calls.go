package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/bits"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// unwritten fills memory to which the kernel writes a result.
const unwritten = 0xa5

// affinity returns the CPUs of the affinity mask of a thread, and the size that the kernel returns.
func affinity(pid, length int) (cpus []int, size int, err error) {
	mask := bytes.Repeat([]byte{unwritten}, 1024)
	n, _, errno := syscall.RawSyscall(syscall.SYS_SCHED_GETAFFINITY, uintptr(pid), uintptr(length),
		uintptr(unsafe.Pointer(&mask[0])))
	if errno != 0 {
		return nil, 0, errno
	}
	if size := writtenSize(mask); size > int(n) {
		return nil, size, fmt.Errorf("%d bytes are written, but %d returned", size, n)
	}
	for i, b := range mask[:n] {
		for ; b != 0; b &= b - 1 {
			cpus = append(cpus, 8*i+bits.TrailingZeros8(b))
		}
	}
	return cpus, int(n), nil
}

// writtenSize returns the number of bytes up to the last one that is written.
func writtenSize(b []byte) int { return len(bytes.TrimRight(b, string([]byte{unwritten}))) }

// printCalls prints the results of sysinfo(2), and of sched_getaffinity(2) for this thread and those
// in the arguments.
func printCalls(args []string) error {
	memory := bytes.Repeat([]byte{unwritten}, 256)
	s := (*syscall.Sysinfo_t)(unsafe.Pointer(&memory[0]))
	if err := syscall.Sysinfo(s); err != nil {
		return err
	}
	fmt.Printf("uptime %d\nloads %d %d %d\ntotalram %d\nfreeram %d\nsharedram %d\nbufferram %d\n"+
		"totalswap %d\nfreeswap %d\nprocs %d\nunit %d\n", s.Uptime, s.Loads[0], s.Loads[1], s.Loads[2],
		s.Totalram, s.Freeram, s.Sharedram, s.Bufferram, s.Totalswap, s.Freeswap, s.Procs, s.Unit)
	fmt.Println("size", writtenSize(memory))
	runtime.LockOSThread()
	cpus, size, err := affinity(0, int(unsafe.Sizeof(uintptr(0))))
	fmt.Println("shortest", cpus, size, err)
	for i := -1; i < len(args); i++ {
		pid, err := 0, error(nil)
		if i >= 0 {
			if pid, err = number(args, i); err != nil {
				return err
			}
		}
		cpus, size, err := affinity(pid, 1024)
		fmt.Printf("affinity %d %v %d %v\n", pid, cpus, size, err)
	}
	return nil
}

// countCalls makes calls with several threads, and prints the number of calls, that of errors and
// results other than TOTALRAM and CPUS, and the first of these. Each thread pauses after two calls.
func countCalls(args []string) error {
	end, threads, err := secondsAndThreads(args)
	if err != nil {
		return err
	}
	total, err := number(args, 2)
	if err != nil {
		return err
	}
	want, err := number(args, 3)
	if err != nil {
		return err
	}
	var pause time.Duration
	if len(args) > 4 {
		if pause, err = time.ParseDuration(args[4]); err != nil {
			return err
		}
	}
	var calls, wrong atomic.Int64
	var first atomic.Value
	var wg sync.WaitGroup
	for range threads {
		wg.Go(func() {
			runtime.LockOSThread()
			for time.Now().Before(end) {
				var s syscall.Sysinfo_t
				err := syscall.Sysinfo(&s)
				cpus, _, affinityErr := affinity(0, 1024)
				if err = errors.Join(err, affinityErr); err != nil || uint64(s.Totalram) != uint64(total) ||
					len(cpus) != want {
					wrong.Add(1)
					first.CompareAndSwap(nil, fmt.Sprintf("%v, totalram %d, CPUs %v", err, s.Totalram, cpus))
				}
				calls.Add(2)
				time.Sleep(pause)
			}
		})
	}
	wg.Wait()
	fmt.Printf("calls %d wrong %d %v\n", calls.Load(), wrong.Load(), first.Load())
	return nil
}

// timeCalls prints the median and the 90th percentile of the times of a call, in nanoseconds.
func timeCalls(args []string) error {
	rounds, err := number(args, 0)
	if err != nil || len(args) != 2 {
		return errors.New("want ROUNDS and CALL")
	}
	var memory [1024]byte
	at := uintptr(unsafe.Pointer(&memory[0]))
	call := map[string]func(){
		"sysinfo":  func() { syscall.RawSyscall(syscall.SYS_SYSINFO, at, 0, 0) },
		"affinity": func() { syscall.RawSyscall(syscall.SYS_SCHED_GETAFFINITY, 0, uintptr(len(memory)), at) },
		"getppid":  func() { syscall.RawSyscall(syscall.SYS_GETPPID, 0, 0, 0) },
	}[args[1]]
	if call == nil {
		return fmt.Errorf("CALL %q: want sysinfo, affinity or getppid", args[1])
	}
	runtime.LockOSThread()
	defer runtime.KeepAlive(&memory)
	const each = 100 // calls of getppid that are measured together
	times := make([]time.Duration, rounds)
	for i := range times {
		began := time.Now()
		if args[1] == "getppid" {
			for range each {
				call()
			}
		} else {
			call()
		}
		times[i] = time.Since(began)
	}
	slices.Sort(times)
	if args[1] == "getppid" {
		fmt.Printf("%.1f %.1f\n", float64(times[rounds/2])/each, float64(times[rounds*9/10])/each)
		return nil
	}
	fmt.Println(times[rounds/2].Nanoseconds(), times[rounds*9/10].Nanoseconds())
	return nil
}
