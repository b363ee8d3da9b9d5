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

// Marks that, as its first argument, make the test program execute the rest under a seccomp filter: one with system calls
// that answer ENOSYS, as on a kernel that does not have them, or that stop for the tracer. The calls follow.
const (
	withoutMark = "--without-calls="
	tracedMark  = "--traced-calls="
)

// ExecFiltered executes the program that the command line names under a filter, if it begins with such a mark. It is for
// the beginning of TestMain, and returns an exit code, or false if there is no mark.
func ExecFiltered() (code int, done bool) {
	if len(os.Args) < 3 {
		return 0, false
	}
	for mark, action := range map[string]uint32{
		withoutMark: unix.SECCOMP_RET_ERRNO | uint32(syscall.ENOSYS), tracedMark: unix.SECCOMP_RET_TRACE,
	} {
		calls, ok := strings.CutPrefix(os.Args[1], mark)
		if !ok {
			continue
		}
		runtime.LockOSThread()
		err := installFilter(calls, action)
		if err == nil {
			err = syscall.Exec(os.Args[2], os.Args[2:], os.Environ())
		}
		fmt.Fprintln(os.Stderr, err)
		return 1, true
	}
	return 0, false
}

// WithoutCalls is the command line that runs a program without some system calls, given by their numbers.
func WithoutCalls(calls []int, program string, args ...string) ([]string, error) {
	texts := make([]string, len(calls))
	for i, call := range calls {
		texts[i] = (&Call{Number: uint32(call)}).text()
	}
	return filtered(withoutMark, texts, program, args)
}

func filtered(mark string, calls []string, program string, args []string) ([]string, error) {
	self, err := os.Executable()
	return append([]string{self, mark + strings.Join(calls, ","), program}, args...), err
}

func (c *Call) text() string { return fmt.Sprintf("%d:%d:%d:%d", c.Number, c.Argument, c.Mask, c.Want) }

func parseCall(text string) (c Call, err error) {
	fields := strings.Split(text, ":")
	if len(fields) != 4 {
		return c, fmt.Errorf("parse system call %q: it is to have four fields", text)
	}
	var n [4]uint64
	for i, field := range fields {
		if n[i], err = strconv.ParseUint(field, 10, 32); err != nil {
			return c, err
		}
	}
	return Call{uint32(n[0]), int(n[1]), uint32(n[2]), uint32(n[3])}, nil
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

func installFilter(calls string, action uint32) error {
	var filter []unix.SockFilter
	for text := range strings.SplitSeq(calls, ",") {
		c, err := parseCall(text)
		if err != nil {
			return err
		}
		filter = append(filter, c.filter(action)...)
	}
	filter = append(filter, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0)
}
