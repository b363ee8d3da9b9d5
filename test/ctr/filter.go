//go:build integration

package ctr

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Call is a system call by its number; with a Mask only where the bits of an argument are Want.
type Call struct {
	Number     uint32
	Argument   int
	Mask, Want uint32
}

// withoutMark, as the first argument, makes the test program execute the rest without the system calls whose numbers follow it: they answer
// ENOSYS, as on a kernel that does not have them.
const withoutMark = "--without-calls="

// ExecFiltered executes the program that the command line names under a filter, if it begins with the mark. It is for the beginning of
// TestMain, and returns an exit code, or false if there is no mark.
func ExecFiltered() (code int, done bool) {
	if len(os.Args) < 3 {
		return 0, false
	}
	numbers, ok := strings.CutPrefix(os.Args[1], withoutMark)
	if !ok {
		return 0, false
	}
	runtime.LockOSThread()
	fmt.Fprintln(os.Stderr, execWithout(numbers, os.Args[2:]))
	return 1, true
}

// execWithout executes a command line without the system calls. It returns in error alone.
func execWithout(numbers string, line []string) error {
	var calls []Call
	for text := range strings.SplitSeq(numbers, ",") {
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return err
		}
		calls = append(calls, Call{Number: uint32(n)})
	}
	if err := installFilter(calls, unix.SECCOMP_RET_ERRNO|uint32(syscall.ENOSYS)); err != nil {
		return err
	}
	return syscall.Exec(line[0], line, os.Environ())
}

// WithoutCalls is the command line that runs a program without some system calls, given by their numbers.
func WithoutCalls(calls []int, program string, args ...string) ([]string, error) {
	numbers := make([]string, len(calls))
	for i, call := range calls {
		numbers[i] = strconv.Itoa(call)
	}
	self, err := os.Executable()
	return append([]string{self, withoutMark + strings.Join(numbers, ","), program}, args...), err
}

// filter are the instructions that have the call end in an action.
func (c *Call) filter(action uint32) []unix.SockFilter {
	const numberAt, argumentsAt, argumentSize = 0, 16, 8 // offsets in struct seccomp_data; the low word comes first
	jump := func(to uint32, ifNot uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: to, Jf: ifNot}
	}
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	end := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
	if c.Mask == 0 {
		return []unix.SockFilter{load(numberAt), jump(c.Number, 1), end}
	}
	return []unix.SockFilter{
		load(numberAt), jump(c.Number, 4),
		load(argumentsAt + argumentSize*uint32(c.Argument)), {Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: c.Mask}, jump(c.Want, 1), end,
	}
}

// installFilter makes the calls end in an action, for the thread and what it executes.
func installFilter(calls []Call, action uint32) error {
	var filter []unix.SockFilter
	for i := range calls {
		filter = append(filter, calls[i].filter(action)...)
	}
	filter = append(filter, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0)
}
