package sys

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// NewUserNamespace creates a user namespace with the maps, in the form of /proc/<pid>/uid_map
// (user_namespaces(7)). The namespace exists as long as ns is open. Its first process, a fork
// without an exec, is killed before NewUserNamespace returns.
func NewUserNamespace(uidMap, gidMap string) (ns File, err error) {
	pid, errno := forkPaused(unix.CLONE_NEWUSER)
	if errno != 0 {
		return File{}, os.NewSyscallError("clone CLONE_NEWUSER", errno)
	}
	defer func() {
		unix.Kill(pid, unix.SIGKILL)
		reap(pid)
	}()
	dir := "/proc/" + strconv.Itoa(pid) + "/"
	for name, text := range map[string]string{"uid_map": uidMap, "gid_map": gidMap} {
		if err := os.WriteFile(dir+name, []byte(text), 0); err != nil {
			return File{}, fmt.Errorf("%w (map %q)", err, text)
		}
	}
	return Open(dir + "ns/user")
}

// forkPaused starts a child in new namespaces that waits until it is killed, or its parent ends.
// The child makes raw system calls only, see forkReader.
//
//go:norace
//go:noinline
func forkPaused(flags uintptr) (pid int, errno unix.Errno) {
	flags |= uintptr(unix.SIGCHLD)
	child, _, errno := unix.RawSyscall6(unix.SYS_CLONE, flags, 0, 0, 0, 0, 0)
	if errno != 0 || child != 0 {
		return int(child), errno
	}
	unix.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0, 0)
	unix.RawSyscall(unix.SYS_CLOSE_RANGE, 0, uintptr(^uint32(0)), 0)
	for {
		unix.RawSyscall6(unix.SYS_PPOLL, 0, 0, 0, 0, 0, 0)
	}
}
