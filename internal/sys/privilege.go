package sys

import (
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Capabilities that a program may keep (capabilities(7)).
const (
	CapDACReadSearch = unix.CAP_DAC_READ_SEARCH
	CapSysPtrace     = unix.CAP_SYS_PTRACE
	CapSysAdmin      = unix.CAP_SYS_ADMIN
	CapSysResource   = unix.CAP_SYS_RESOURCE
)

// KeepCapabilities drops all capabilities of all threads but those that are given and there, for good: neither this process
// nor a program that it executes gets another one (PR_SET_NO_NEW_PRIVS, and an empty bounding set but for them).
func KeepCapabilities(keep ...int) error {
	if err := allThreads("prctl PR_SET_NO_NEW_PRIVS", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1); err != nil {
		return err
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var now, kept [2]unix.CapUserData
	if err := unix.Capget(&header, &now[0]); err != nil {
		return os.NewSyscallError("capget", err)
	}
	var mask [2]uint32
	for _, c := range keep {
		mask[c/32] |= 1 << (c % 32)
	}
	if now[0].Effective&(1<<unix.CAP_SETPCAP) != 0 {
		for c := range unix.CAP_LAST_CAP + 1 {
			if mask[c/32]&(1<<(c%32)) != 0 {
				continue
			}
			if err := allThreads("prctl PR_CAPBSET_DROP", unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, uintptr(c)); err != nil {
				return fmt.Errorf("capability %d: %w", c, err)
			}
		}
	}
	for i := range kept {
		kept[i] = unix.CapUserData{Effective: now[i].Effective & mask[i], Permitted: now[i].Permitted & mask[i]}
	}
	return allThreads("capset", unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&kept[0])))
}

// allThreads makes a system call on all threads.
func allThreads(name string, call, a, b uintptr) error {
	_, _, errno := syscall.AllThreadsSyscall(call, a, b, 0)
	if errno == syscall.EINVAL && call == unix.SYS_PRCTL && a == unix.PR_CAPBSET_DROP {
		return nil // the kernel knows fewer
	}
	if errno != 0 {
		return os.NewSyscallError(name, errno)
	}
	return nil
}
