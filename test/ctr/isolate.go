package ctr

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// isolatedMark is set in the environment of a program that Isolate has started.
const isolatedMark = "PALISADE_ISOLATED"

// isolate runs the program in the namespaces, without the mounts of lxcfs. Its shell is the init of
// the pid namespace, which reaps orphans.
const isolate = `mount -t proc proc /proc && mount -t tmpfs -o mode=755 tmpfs /run || exit
sed -n 's/^[^ ]* [^ ]* [^ ]* [^ ]* \([^ ]*\) .* - fuse\.lxcfs .*/\1/p' /proc/self/mountinfo |
while read -r point; do umount -l -c "$point"; done
"$@"; exit $?`

// Isolate runs this program again in new pid and mount namespaces, with an empty /run and without
// lxcfs, so that it finds only its own containers. Its processes are killed at its end. Isolate
// returns the exit code, and false in the program that it has started.
func Isolate() (code int, done bool, err error) {
	if os.Getenv(isolatedMark) != "" {
		return 0, false, nil
	}
	if os.Geteuid() != 0 {
		return 1, true, errors.New("containers are started: run this as root")
	}
	if err := os.Setenv(isolatedMark, "1"); err != nil {
		return 1, true, err
	}
	self, err := os.Executable()
	if err != nil {
		return 1, true, err
	}
	cmd := exec.Command("sh", append([]string{"-c", isolate, "sh", self}, os.Args[1:]...)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID, Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL,
	}
	return exitCode(cmd.Run())
}

// MainIsolated is the main function of a program that runs in the namespaces of Isolate. It does
// not return.
func MainIsolated(name string, run func() (code int, err error)) {
	code, done, err := Isolate()
	if err == nil && !done {
		code, err = run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, name+":", err)
		code = 1
	}
	os.Exit(code)
}
