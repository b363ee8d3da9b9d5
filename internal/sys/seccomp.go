package sys

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// confinement is what a process may call: some system calls, some with restrictions.
type confinement struct {
	calls      []uint32
	restricted []restrictedCall
}

// goCalls are those of Go's runtime, and of descriptors that the process has.
var goCalls = []uint32{
	unix.SYS_READ, unix.SYS_WRITE, unix.SYS_PREAD64, unix.SYS_CLOSE,
	unix.SYS_FUTEX, unix.SYS_NANOSLEEP, unix.SYS_SCHED_YIELD, unix.SYS_RESTART_SYSCALL,
	unix.SYS_EPOLL_PWAIT, unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EVENTFD2,
	unix.SYS_GETPID, unix.SYS_GETPPID, unix.SYS_GETTID, unix.SYS_GETRANDOM, unix.SYS_CLOCK_GETTIME, unix.SYS_SCHED_GETAFFINITY,
	unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_SIGALTSTACK,
	unix.SYS_MUNMAP, unix.SYS_MADVISE, unix.SYS_MINCORE,
	unix.SYS_RSEQ, unix.SYS_SET_ROBUST_LIST, // of glibc, which comes with the race detector
	unix.SYS_EXIT, unix.SYS_EXIT_GROUP,
}

// readerCalls are the system calls of a process that only reads, but for descriptors that it has: the device, the log, the
// supervisor.
var readerCalls = []uint32{
	unix.SYS_LSEEK, unix.SYS_PPOLL,
	unix.SYS_READLINKAT, unix.SYS_FSTAT, unix.SYS_GETDENTS64, // namespaces, a container's /dev, the host's CPU directory
	unix.SYS_PIDFD_OPEN,                // ends of containers
	unix.SYS_SYSINFO,                   // the host's memory
	unix.SYS_SENDMSG, unix.SYS_RECVMSG, // files that the supervisor opens, see Reopen
}

// answererCalls are those of a process that answers at sockets that it has.
var answererCalls = []uint32{
	unix.SYS_ACCEPT4, unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME, unix.SYS_SETSOCKOPT, unix.SYS_GETSOCKOPT, unix.SYS_SHUTDOWN,
}

// restrictedCall is a system call that is allowed only if its argument, less the bits that are not of mask, is the value.
type restrictedCall struct{ number, argument, mask, value uint32 }

// goRestricted make no memory executable, start threads, but no process, and signal none but these: neither directly nor by
// a descriptor that has another for its owner. The kernel looks at the lower half of these arguments alone, or at these bits.
var goRestricted = []restrictedCall{
	{unix.SYS_TGKILL, 0, ^uint32(0), uint32(os.Getpid())},
	{unix.SYS_FCNTL, 1, ^uint32(0), unix.F_GETFL},
	{unix.SYS_FCNTL, 1, ^uint32(0), unix.F_SETFL},
	{unix.SYS_FCNTL, 1, ^uint32(0), unix.F_GETFD},
	{unix.SYS_FCNTL, 1, ^uint32(0), unix.F_SETFD},
	{unix.SYS_FCNTL, 1, ^uint32(0), unix.F_DUPFD_CLOEXEC},
	{unix.SYS_MMAP, 2, unix.PROT_EXEC, 0},
	{unix.SYS_MPROTECT, 2, unix.PROT_EXEC, 0},
	{unix.SYS_PRCTL, 0, ^uint32(0), unix.PR_SET_VMA}, // the Go runtime names its memory
	{unix.SYS_CLONE, 0, unix.CLONE_THREAD, unix.CLONE_THREAD},
}

// readerRestricted open no file to write it, to make it or to cut it off, and enter no namespace but one of cgroups.
var readerRestricted = []restrictedCall{
	{unix.SYS_OPENAT, 2, unix.O_ACCMODE | unix.O_CREAT | unix.O_TRUNC | unix.O_APPEND, 0},
	{unix.SYS_SETNS, 1, ^uint32(0), unix.CLONE_NEWCGROUP},
	{unix.SYS_IOCTL, 1, ^uint32(0), nsGetPidFromPidNS},
	{unix.SYS_IOCTL, 1, ^uint32(0), nsGetPidInPidNS},
	{unix.SYS_IOCTL, 1, ^uint32(0), unix.NS_GET_PARENT},
	{unix.SYS_IOCTL, 1, ^uint32(0), unix.NS_GET_USERNS},
	{unix.SYS_IOCTL, 1, ^uint32(0), unix.NS_GET_OWNER_UID},
}

// The confinements: what is called for each read comes first.
var (
	readerConfinement = confinement{
		slices.Concat(goCalls, archGoCalls, readerCalls, archReaderCalls), slices.Concat(readerRestricted, goRestricted),
	}
	answererConfinement = confinement{slices.Concat(goCalls, archGoCalls, answererCalls), goRestricted}
)

// absentCalls are said not to exist, upon which older ones take their place: a filter cannot see the flags of these.
var absentCalls = []uint32{unix.SYS_OPENAT2, unix.SYS_CLONE3}

// Offsets in struct seccomp_data of linux/seccomp.h. Of an argument, the lower half comes first: all architectures below are
// little-endian.
const (
	seccompNumber = 0
	seccompArch   = 4
	seccompArgs   = 16
)

// auditArchs are the architectures as a filter sees them.
var auditArchs = map[string]uint32{
	"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64,
	"riscv64": unix.AUDIT_ARCH_RISCV64, "loong64": unix.AUDIT_ARCH_LOONGARCH64,
}

// x32Bit is in the number of each system call of the x32 ABI, which shares its architecture with that of x86-64.
const x32Bit = 0x40000000

// ConfineToReading lets this process, with all its threads and for good, make none but the system calls of one that reads:
// another is fatal (SIGSYS), but for openat2(2) and clone3(2), which fail with ENOSYS.
// The process must have no_new_privs.
func ConfineToReading() error { return readerConfinement.apply() }

// ConfineToServing does the same for a process that answers at sockets, and opens nothing.
func ConfineToServing() error { return answererConfinement.apply() }

func (c confinement) apply() error {
	arch, ok := auditArchs[runtime.GOARCH]
	if !ok {
		return fmt.Errorf("seccomp: no filter is known for %s", runtime.GOARCH)
	}
	filter := c.filter(arch)
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	// A filter of no speculation (the default before Linux 5.16) makes each read slower, and protects from code of others
	// inside this process, of which there is none.
	const flags = unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return os.NewSyscallError("seccomp", errno)
	}
	if thread != 0 {
		return fmt.Errorf("seccomp: thread %d has another filter", thread)
	}
	return nil
}

// filter is a program of linux/filter.h. Filters see numbers of 32 bits in the machine's order of bytes.
func (c confinement) filter(arch uint32) []unix.SockFilter {
	const (
		load     = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		isEqual  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		isAtMost = unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K // the other way round: it jumps where it is more
		and      = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
		end      = unix.BPF_RET | unix.BPF_K
	)
	var (
		allow = unix.SockFilter{Code: end, K: unix.SECCOMP_RET_ALLOW}
		trap  = unix.SockFilter{Code: end, K: unix.SECCOMP_RET_TRAP}
		none  = unix.SockFilter{Code: end, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)}
	)
	filter := []unix.SockFilter{
		{Code: load, K: seccompArch},
		{Code: isEqual, K: arch, Jt: 1},
		trap,
		{Code: load, K: seccompNumber},
		{Code: isAtMost, K: x32Bit - 1, Jf: 1},
		trap,
	}
	for _, number := range absentCalls {
		filter = append(filter, unix.SockFilter{Code: isEqual, K: number, Jf: 1}, none)
	}
	for _, number := range c.calls {
		filter = append(filter, unix.SockFilter{Code: isEqual, K: number, Jf: 1}, allow)
	}
	for _, call := range c.restricted {
		filter = append(filter,
			unix.SockFilter{Code: isEqual, K: call.number, Jf: 5},
			unix.SockFilter{Code: load, K: seccompArgs + 8*call.argument},
			unix.SockFilter{Code: and, K: call.mask},
			unix.SockFilter{Code: isEqual, K: call.value, Jf: 1},
			allow, unix.SockFilter{Code: load, K: seccompNumber}) // there may be another of the same number
	}
	return append(filter, trap)
}
