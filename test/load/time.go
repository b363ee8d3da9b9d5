package main

import (
	"errors"
	"flag"
	"fmt"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// getcpu is the number of the system call, which package syscall lacks.
var getcpu = map[string]uintptr{"amd64": 309, "arm64": 168, "riscv64": 168}[runtime.GOARCH]

// minReads is the number of reads of each file that a thread measures in spite of -limit.
const minReads = 5

// timing has the arguments of the command time.
type timing struct {
	pause, limit time.Duration
	threads      int
	pin, cat     bool
	rounds       int
	burst        int // rounds after each pause
	files        []string
}

// timedThread is the result of a thread.
type timedThread struct {
	times [][]int64 // of each file, in nanoseconds
	reads int       // with those of the warm-up
	cpu   uint32
}

// timeReads prints a line for each file: median, 90th and 99th percentile and mean of its read
// times in nanoseconds; then, of all files together, the number of reads with those of the warm-up,
// the reads per second, the CPU time per read in nanoseconds, and the CPU of the first thread after
// its last read; and the file's name.
func timeReads(args []string) (err error) {
	var t timing
	flags := flag.NewFlagSet("time", flag.ContinueOnError)
	flags.DurationVar(&t.pause, "pause", 0, "pause before each read of a round, except in the warm-up")
	flags.IntVar(&t.burst, "burst", 1, "number of rounds after each pause")
	flags.DurationVar(&t.limit, "limit", time.Hour, "time after which a thread stops early")
	flags.IntVar(&t.threads, "threads", 1, "number of threads")
	flags.BoolVar(&t.pin, "pin", false, "pin each thread to a CPU, in turn")
	flags.BoolVar(&t.cat, "cat", false, "start a process of cat(1) for each read")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if t.rounds, err = number(flags.Args(), 0); err != nil {
		return err
	}
	t.files = flags.Args()[1:]
	runtime.GOMAXPROCS(max(t.threads, runtime.NumCPU()))
	threads, errs := make([]timedThread, t.threads), make([]error, t.threads)
	start, before := time.Now(), cpuTime()
	var wg sync.WaitGroup
	for i := range threads {
		wg.Go(func() { threads[i], errs[i] = t.run(i) })
	}
	wg.Wait()
	elapsed, used := time.Since(start), cpuTime()-before
	if err := errors.Join(errs...); err != nil {
		return err
	}
	reads := 0
	for _, thread := range threads {
		reads += thread.reads
	}
	for i, file := range t.files {
		var times []int64
		for _, thread := range threads {
			times = append(times, thread.times[i]...)
		}
		slices.Sort(times)
		n, sum := len(times), int64(0)
		for _, nanos := range times {
			sum += nanos
		}
		fmt.Println(times[n/2], times[n*90/100], times[n*99/100], sum/int64(n), reads,
			int(float64(reads)/elapsed.Seconds()), used.Nanoseconds()/int64(reads),
			threads[0].cpu, file)
	}
	return nil
}

// run reads the files in turn, so that disturbances affect all of them.
func (t *timing) run(index int) (r timedThread, err error) {
	runtime.LockOSThread()
	if t.pin {
		if err := pinThread(index % runtime.NumCPU()); err != nil {
			return r, err
		}
	}
	warmUp := t.rounds / 10
	if t.pause > 0 {
		warmUp = max(warmUp, 2)
	}
	r.times = make([][]int64, len(t.files))
	pause := syscall.NsecToTimespec(t.pause.Nanoseconds())
	buf := make([]byte, 1<<17)
	begin := time.Now()
	for round := range warmUp + t.rounds {
		if round >= warmUp+minReads && time.Since(begin) > t.limit {
			break
		}
		for i, file := range t.files {
			if t.pause > 0 && round >= warmUp && round%t.burst == 0 {
				syscall.Nanosleep(&pause, nil)
			}
			start := time.Now()
			if t.cat {
				err = exec.Command("/bin/cat", file).Run()
			} else {
				_, err = readFile(file, buf)
			}
			if err != nil {
				return r, err
			}
			if round >= warmUp {
				r.times[i] = append(r.times[i], time.Since(start).Nanoseconds())
			}
			r.reads++
		}
	}
	syscall.RawSyscall(getcpu, uintptr(unsafe.Pointer(&r.cpu)), 0, 0)
	return r, nil
}

// pinThread restricts the calling thread to one of the first 64 CPUs.
func pinThread(cpu int) error {
	mask := uint64(1) << cpu
	_, _, errno := syscall.RawSyscall(syscall.SYS_SCHED_SETAFFINITY, 0, unsafe.Sizeof(mask),
		uintptr(unsafe.Pointer(&mask)))
	if errno != 0 {
		return fmt.Errorf("pin thread to CPU %d: %w", cpu, errno)
	}
	return nil
}

// cpuTime returns the CPU time of this process and of its children that have ended.
func cpuTime() (sum time.Duration) {
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var usage syscall.Rusage
		syscall.Getrusage(who, &usage)
		sum += time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	}
	return sum
}
