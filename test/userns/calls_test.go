//go:build integration

package userns

import (
	"golang.org/x/sys/unix"

	"palisade/test/ctr"
)

// changingCalls returns the system calls by which userns-shift changes owners, modes, attributes,
// flags, and files of the state directory.
func changingCalls() (calls []ctr.Call) {
	const setFlagsRequest = 0x6602 // FS_IOC_SETFLAGS without its size, which is another one on 32 bit
	for _, number := range []uint32{
		unix.SYS_FCHOWNAT, unix.SYS_FCHOWN, unix.SYS_FCHMODAT, unix.SYS_FCHMODAT2, unix.SYS_FCHMOD,
		unix.SYS_SETXATTR, unix.SYS_LSETXATTR,
		unix.SYS_FSETXATTR, unix.SYS_REMOVEXATTR, unix.SYS_LREMOVEXATTR, unix.SYS_FREMOVEXATTR,
		unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2,
		unix.SYS_UNLINKAT, unix.SYS_MKDIRAT, unix.SYS_LINKAT, unix.SYS_SYMLINKAT,
	} {
		calls = append(calls, ctr.Call{Number: number})
	}
	return append(calls,
		ctr.Call{Number: unix.SYS_IOCTL, Argument: 1, Mask: 0xffff, Want: setFlagsRequest},
		ctr.Call{Number: unix.SYS_OPENAT, Argument: 2, Mask: unix.O_CREAT, Want: unix.O_CREAT})
}
