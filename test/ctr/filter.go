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

// Call is a system call; if Mask is not 0, only with an argument whose bits in Mask are Want.
type Call struct {
	Number     uint32
	Argument   int
	Mask, Want uint32
}

// withoutMark with a list of numbers, as the first argument, makes the test program execute the
// other arguments without these system calls: they fail with ENOSYS, as on a kernel without them.
const withoutMark = "--without-calls="

// ExecFiltered executes the program in the arguments under a filter, if they begin with
// withoutMark. Call it first in TestMain. It returns an exit code, or false if there is no mark.
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

// execWithout executes a command line without the system calls. It returns only on error.
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

// WithoutCalls returns the command line that runs a program without the system calls with the given
// numbers.
func WithoutCalls(calls []int, program string, args ...string) ([]string, error) {
	numbers := make([]string, len(calls))
	for i, call := range calls {
		numbers[i] = strconv.Itoa(call)
	}
	self, err := os.Executable()
	return append([]string{self, withoutMark + strings.Join(numbers, ","), program}, args...), err
}

// filter returns the instructions that map the call to a seccomp action.
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

// installFilter maps the calls to a seccomp action, for the thread and the programs it executes.
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
