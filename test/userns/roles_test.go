//go:build integration

package userns

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// roleMark with the name of a role, as the first argument, makes the test program play the role, to
// which it passes the other arguments.
const roleMark = "--role="

// playRole plays the role in the first argument, if there is one.
func playRole() (code int, done bool) {
	if len(os.Args) < 2 || !strings.HasPrefix(os.Args[1], roleMark) {
		return 0, false
	}
	runtime.LockOSThread()
	err := fmt.Errorf("no role %q", os.Args[1])
	switch strings.TrimPrefix(os.Args[1], roleMark) {
	case "unprivileged":
		err = runUnprivileged(os.Args[2:])
	case "limited":
		err = runLimited(os.Args[2:])
	case "attacker":
		err = attack(os.Args[2], os.Args[3])
	case "linker":
		err = linkOver(os.Args[2], os.Args[3])
	case "occupant":
		err = occupy(os.Args[2], os.Args[3])
	case "root":
		err = sitInRoot(os.Args[2])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1, true
	}
	return 0, true
}

// role returns the command line of a role.
func role(name string, args ...string) []string {
	return append([]string{"/proc/self/exe", roleMark + name}, args...)
}

// runUnprivileged executes a program without CAP_SYS_ADMIN.
func runUnprivileged(line []string) error {
	if err := unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_SYS_ADMIN, 0, 0, 0); err != nil {
		return err
	}
	return syscall.Exec(line[0], line, os.Environ())
}

// remainingFiles is the number of descriptors that runLimited leaves.
const remainingFiles = 64

// runLimited executes a program with a low limit of open files.
func runLimited(line []string) error {
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE,
		&unix.Rlimit{Cur: remainingFiles, Max: remainingFiles}); err != nil {
		return err
	}
	return syscall.Exec(line[0], line, os.Environ())
}

// sitInRoot changes the root directory of the process, and waits for the end of its input.
func sitInRoot(root string) error {
	if err := unix.Chroot(root); err != nil {
		return err
	}
	fmt.Println("ready")
	os.Stdin.Read(make([]byte, 1))
	return nil
}
