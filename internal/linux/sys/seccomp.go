package sys

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// confinement is the set of system calls that a process may make.
type confinement struct {
	calls      []uint32
	restricted []restrictedCall
}

// goCalls are the system calls of the Go runtime, and those that use open descriptors.
var goCalls = []uint32{
	unix.SYS_READ, unix.SYS_WRITE, unix.SYS_PREAD64, unix.SYS_CLOSE,
	unix.SYS_FUTEX, unix.SYS_NANOSLEEP, unix.SYS_SCHED_YIELD, unix.SYS_RESTART_SYSCALL,
	unix.SYS_EPOLL_PWAIT, unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EVENTFD2,
	unix.SYS_GETPID, unix.SYS_GETPPID, unix.SYS_GETTID, unix.SYS_GETRANDOM,
	unix.SYS_CLOCK_GETTIME, unix.SYS_SCHED_GETAFFINITY,
	unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_SIGALTSTACK,
	unix.SYS_MUNMAP, unix.SYS_MADVISE, unix.SYS_MINCORE,
	unix.SYS_RSEQ, unix.SYS_SET_ROBUST_LIST, // glibc, which the race detector links
	unix.SYS_EXIT, unix.SYS_EXIT_GROUP,
}

// readerCalls are the other system calls of a process that only reads, and writes to descriptors
// that it has: the FUSE device, the log, the supervisor.
var readerCalls = []uint32{
	unix.SYS_LSEEK, unix.SYS_PPOLL, unix.SYS_TIMERFD_SETTIME,
	// Namespaces, a container's /dev, the host's CPU directory.
	unix.SYS_READLINKAT, unix.SYS_FSTAT, unix.SYS_STATX, unix.SYS_GETDENTS64,
	unix.SYS_PIDFD_OPEN,                // the end of a container
	unix.SYS_SYSINFO,                   // the host's memory
	unix.SYS_SENDMSG, unix.SYS_RECVMSG, // ReopenForWriting
}

// serverCalls are the other system calls of a process that serves sockets that it has.
var serverCalls = []uint32{
	unix.SYS_ACCEPT4, unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME,
	unix.SYS_SETSOCKOPT, unix.SYS_GETSOCKOPT, unix.SYS_SHUTDOWN,
}

// restrictedCall allows a system call if the bits in mask of one argument are value. The filter
// compares the lower 32 bits of the argument.
type restrictedCall struct{ number, argument, mask, value uint32 }

// goRestricted allows the Go runtime to map memory that is not executable, to start threads but no
// processes or namespaces, and to signal only these threads: neither another process, nor the owner
// of a descriptor (F_SETOWN). The kernel ignores the upper half of these arguments, or these bits.
var goRestricted = []restrictedCall{
	{unix.SYS_TGKILL, 0, ^uint32(0), uint32(os.Getpid())},
	{unix.SYS_FCNTL, 1, ^uint32(0), unix.F_GETFL},
	{unix.SYS_FCNTL, 1, ^uint32(0), unix.F_SETFL},
	{unix.SYS_FCNTL, 1, ^uint32(0), unix.F_GETFD},
	{unix.SYS_FCNTL, 1, ^uint32(0), unix.F_SETFD},
	{unix.SYS_FCNTL, 1, ^uint32(0), unix.F_DUPFD_CLOEXEC},
	{unix.SYS_MMAP, 2, unix.PROT_EXEC, 0},
	{unix.SYS_MPROTECT, 2, unix.PROT_EXEC, 0},
	{unix.SYS_PRCTL, 0, ^uint32(0), unix.PR_SET_VMA}, // names of the Go heap in /proc/<pid>/maps
	{unix.SYS_CLONE, 0, unix.CLONE_THREAD | newNamespaces, unix.CLONE_THREAD},
}

// newNamespaces are the flags of clone(2) that create namespaces. CLONE_NEWTIME is not among them,
// because it is a bit of clone(2)'s exit signal.
const newNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
	unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWUSER | unix.CLONE_NEWCGROUP

// readerRestricted allows to open files for reading only, to enter cgroup namespaces, to bind the
// calling thread to CPUs, and to query namespaces.
var readerRestricted = []restrictedCall{
	{unix.SYS_OPENAT, 2, unix.O_ACCMODE | unix.O_CREAT | unix.O_TRUNC | unix.O_APPEND, 0},
	{unix.SYS_SETNS, 1, ^uint32(0), unix.CLONE_NEWCGROUP},
	{unix.SYS_SCHED_SETAFFINITY, 0, ^uint32(0), 0},
	{unix.SYS_IOCTL, 1, ^uint32(0), nsGetPidFromPidNS},
	{unix.SYS_IOCTL, 1, ^uint32(0), nsGetPidInPidNS},
	{unix.SYS_IOCTL, 1, ^uint32(0), unix.NS_GET_PARENT},
	{unix.SYS_IOCTL, 1, ^uint32(0), unix.NS_GET_USERNS},
	{unix.SYS_IOCTL, 1, ^uint32(0), unix.NS_GET_OWNER_UID},
}

// notifyRestricted allows to receive and answer notified calls.
var notifyRestricted = []restrictedCall{
	{unix.SYS_IOCTL, 1, ^uint32(0), notifReceive},
	{unix.SYS_IOCTL, 1, ^uint32(0), notifIDValid},
	{unix.SYS_IOCTL, 1, ^uint32(0), notifSend},
}

// answererCalls and answererRestricted are the other system calls of a process that writes the
// answers to notified calls: it opens files only for writing.
var (
	answererCalls      = []uint32{unix.SYS_PWRITE64, unix.SYS_RECVMSG, unix.SYS_PPOLL}
	answererRestricted = []restrictedCall{
		{unix.SYS_OPENAT, 2, unix.O_ACCMODE | unix.O_CREAT | unix.O_TRUNC | unix.O_APPEND,
			unix.O_WRONLY},
	}
)

// The filter compares the calls in this order, so the most frequent ones come first.
var (
	readerConfinement = confinement{
		slices.Concat(goCalls, archGoCalls, readerCalls, archReaderCalls),
		slices.Concat(notifyRestricted, readerRestricted, goRestricted),
	}
	answererConfinement = confinement{
		slices.Concat(goCalls, archGoCalls, answererCalls, serverCalls),
		slices.Concat(notifyRestricted, answererRestricted, goRestricted),
	}
	serverConfinement = confinement{slices.Concat(goCalls, archGoCalls, serverCalls), goRestricted}
)

// enosysCalls fail with ENOSYS, upon which callers use older ones. A filter cannot see the flags of
// these, which are in memory.
var enosysCalls = []uint32{unix.SYS_OPENAT2, unix.SYS_CLONE3}

// Offsets in struct seccomp_data of linux/seccomp.h. The lower half of an argument comes first, as
// all architectures in auditArchs are little-endian.
const (
	seccompNumber = 0
	seccompArch   = 4
	seccompArgs   = 16
)

// auditArchs maps GOARCH to seccomp_data.arch.
var auditArchs = map[string]uint32{
	"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64,
	"riscv64": unix.AUDIT_ARCH_RISCV64, "loong64": unix.AUDIT_ARCH_LOONGARCH64,
}

// x32Bit is set in the system call numbers of the x32 ABI, which has the arch of x86-64.
const x32Bit = 0x40000000

// ConfineToReading installs a seccomp filter in all threads of this process that allows only system
// calls that read. Others are fatal (SIGSYS), except openat2(2) and clone3(2), which fail with
// ENOSYS. The process must have no_new_privs.
func ConfineToReading() error { return readerConfinement.apply() }

// ConfineToServing is like ConfineToReading for a process that serves open sockets, and opens no
// files.
func ConfineToServing() error { return serverConfinement.apply() }

// ConfineToAnswering is like ConfineToReading for a process that answers notified calls, with open
// descriptors of their filters, and writes to the memory of callers. It opens no files for reading.
func ConfineToAnswering() error { return answererConfinement.apply() }

func (c confinement) apply() error {
	arch, ok := auditArchs[runtime.GOARCH]
	if !ok {
		return fmt.Errorf("seccomp: unsupported architecture %s", runtime.GOARCH)
	}
	filter := c.filter(arch)
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	// Without SPEC_ALLOW, kernels before Linux 5.16 disable speculation, which makes each read
	// slower. That protects from untrusted code in this process, and there is none.
	const flags = unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags,
		uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return os.NewSyscallError("seccomp", errno)
	}
	if thread != 0 {
		return fmt.Errorf("seccomp: thread %d has another filter", thread)
	}
	return nil
}

// filter returns the confinement as a BPF program (linux/filter.h).
func (c confinement) filter(arch uint32) []unix.SockFilter {
	const (
		load    = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		isEqual = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		isMore  = unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K
		and     = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
		end     = unix.BPF_RET | unix.BPF_K
	)
	var (
		allow  = unix.SockFilter{Code: end, K: unix.SECCOMP_RET_ALLOW}
		trap   = unix.SockFilter{Code: end, K: unix.SECCOMP_RET_TRAP}
		enosys = unix.SockFilter{Code: end, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)}
	)
	filter := []unix.SockFilter{
		{Code: load, K: seccompArch},
		{Code: isEqual, K: arch, Jt: 1},
		trap,
		{Code: load, K: seccompNumber},
		{Code: isMore, K: x32Bit - 1, Jf: 1},
		trap,
	}
	for _, number := range enosysCalls {
		filter = append(filter, unix.SockFilter{Code: isEqual, K: number, Jf: 1}, enosys)
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
			allow,
			unix.SockFilter{Code: load, K: seccompNumber}) // for other restrictions of this call
	}
	return append(filter, trap)
}
