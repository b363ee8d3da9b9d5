package sys

import (
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// NewUserNamespace creates a user namespace with the maps (user_namespaces(7)). The namespace
// exists as long as ns is open. Its first process is killed before it runs.
func NewUserNamespace(uids, gids []syscall.SysProcIDMap) (ns File, err error) {
	runtime.LockOSThread() // it traces the process, which is killed when it ends
	defer runtime.UnlockOSThread()
	process, err := os.StartProcess("/proc/self/exe", []string{"userns"}, &os.ProcAttr{
		Sys: &syscall.SysProcAttr{
			Cloneflags: unix.CLONE_NEWUSER, UidMappings: uids, GidMappings: gids,
			GidMappingsEnableSetgroups: true,
			Ptrace:                     true, Pdeathsig: unix.SIGKILL, // it stops in execve(2)
		},
	})
	if err != nil {
		return File{}, err
	}
	defer func() {
		process.Kill()
		process.Wait()
	}()
	return Open("/proc/" + strconv.Itoa(process.Pid) + "/ns/user")
}
