package sys

import (
	"errors"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// NotifiedCall is a system call that a seccomp filter passes on to the holder of its descriptor
// (struct seccomp_notif, seccomp_unotify(2)). Its thread waits for the answer.
type NotifiedCall struct {
	// ID identifies the call. It is never 0 in practice: the kernel counts from a random number.
	ID uint64
	// TID is the thread, or 0 if it is invisible in the receiver's pid namespace.
	TID   uint32
	flags uint32
	// Number is the number of the system call in the ABI Arch (seccomp_data.arch).
	Number int32
	Arch   uint32
	_      uint64 // the instruction pointer
	Args   [6]uint64
}

// callAnswer is the answer to a NotifiedCall (struct seccomp_notif_resp).
type callAnswer struct {
	id    uint64
	value int64
	errno int32
	flags uint32
}

// Requests of linux/seccomp.h.
const (
	notifReceive  = 0xc0502100 // SECCOMP_IOCTL_NOTIF_RECV
	notifSend     = 0xc0182101 // SECCOMP_IOCTL_NOTIF_SEND
	notifIDValid  = 0x40082102 // SECCOMP_IOCTL_NOTIF_ID_VALID
	notifSetFlags = 0x40082104 // SECCOMP_IOCTL_NOTIF_SET_FLAGS, Linux 6.6

	notifSyncWakeUp = 1 // SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP
	notifContinue   = 1 // SECCOMP_USER_NOTIF_FLAG_CONTINUE, Linux 5.5
)

// IsSeccompNotify reports whether f is the descriptor of a seccomp filter: it knows that no call has
// the ID 0.
func (f File) IsSeccompNotify() bool {
	var none NotifiedCall
	err := f.notifIoctl("SECCOMP_IOCTL_NOTIF_ID_VALID", notifIDValid, unsafe.Pointer(&none.ID))
	return errors.Is(err, unix.ENOENT)
}

// WakeOnSameCPU makes the kernel run the receiver of a call on the CPU of the caller, which waits,
// and the caller on that of the receiver. Before Linux 6.6 it has no effect.
func (f File) WakeOnSameCPU() {
	// An error means that the kernel places both as usual.
	unix.Syscall(unix.SYS_IOCTL, uintptr(f.Fd()), notifSetFlags, notifSyncWakeUp)
}

// ReceiveCall receives a call into c, which another process may have mapped. It blocks, even if f
// has O_NONBLOCK: the caller must have found that f is readable, and be the only one to receive. It
// fails with ENOENT if the calling thread has died.
func (f File) ReceiveCall(c *NotifiedCall) error {
	*c = NotifiedCall{} // the kernel requires that
	return f.notifIoctl("SECCOMP_IOCTL_NOTIF_RECV", notifReceive, unsafe.Pointer(c))
}

// IsWaiting reports whether the thread of the call still waits for an answer, so that its TID is
// not another thread's.
func (f File) IsWaiting(c *NotifiedCall) bool {
	return f.notifIoctl("SECCOMP_IOCTL_NOTIF_ID_VALID", notifIDValid, unsafe.Pointer(&c.ID)) == nil
}

// Answer ends the call with the return value. It fails with ENOENT if the thread no longer waits.
func (f File) Answer(c *NotifiedCall, value int64) error {
	return f.answer(&callAnswer{id: c.ID, value: value})
}

// Continue makes the kernel execute the call. It fails with ENOENT if the thread no longer waits.
func (f File) Continue(c *NotifiedCall) error {
	return f.answer(&callAnswer{id: c.ID, flags: notifContinue})
}

func (f File) answer(a *callAnswer) error {
	return f.notifIoctl("SECCOMP_IOCTL_NOTIF_SEND", notifSend, unsafe.Pointer(a))
}

func (f File) notifIoctl(name string, request uintptr, arg unsafe.Pointer) error {
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(f.Fd()), request, uintptr(arg))
		if errno == 0 {
			return nil
		}
		if errno != unix.EINTR {
			return os.NewSyscallError("ioctl "+name, errno)
		}
	}
}

// OpenMemory opens the memory of the thread tid for WriteAt (proc_pid_mem(5)). It stays that of the
// program that the thread now executes. proc is the host's /proc.
func OpenMemory(proc File, tid uint32) (File, error) {
	return openat(proc.Fd(), strconv.FormatUint(uint64(tid), 10)+"/mem", unix.O_WRONLY)
}

// WriteAt writes p at an offset of the file, which may be any uint64, and returns the number of
// bytes written.
func (f File) WriteAt(p []byte, offset uint64) (int, error) {
	for {
		n, err := unix.Pwrite(f.Fd(), p, int64(offset))
		if err != unix.EINTR {
			return max(n, 0), os.NewSyscallError("pwrite", err)
		}
	}
}

// Affinity sets mask to the affinity mask of the thread tid, and returns the size of the kernel's
// mask in bytes (sched_getaffinity(2)). It fails with EINVAL if that is larger than mask.
func Affinity(tid int, mask []byte) (size int, err error) {
	n, _, errno := unix.Syscall(unix.SYS_SCHED_GETAFFINITY, uintptr(tid), uintptr(len(mask)),
		uintptr(unsafe.Pointer(&mask[0])))
	if errno != 0 {
		return 0, os.NewSyscallError("sched_getaffinity", errno)
	}
	return int(n), nil
}
