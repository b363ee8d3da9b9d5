//go:build integration

// Package toolkit tests lxcfs-toolkit with real containers, as root. It does so in mount and pid namespaces of its own, with
// its own /run: "all containers" are those of the tests, and whatever a test leaves behind ends with it.
package toolkit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"palisade/test/ctr"
)

// innerMark is in the environment of the tests in their own namespaces.
const innerMark = "PALISADE_TOOLKIT_INNER"

// shared is what all tests use.
var shared struct{ dir, rootfs, lxcfs, toolkit string }

func TestMain(m *testing.M) {
	if hasOldKernelMark() {
		os.Exit(execOnOldKernel())
	}
	var code int
	var err error
	if os.Getenv(innerMark) == "" {
		code, err = runInside()
	} else {
		code, err = runAll(m)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "toolkit:", err)
		code = 1
	}
	os.Exit(code)
}

// enter is run by the first process in the namespaces, which has to wait for all that lose their parent.
const enter = `mount -t proc proc /proc && mount -t tmpfs -o mode=755 tmpfs /run && "$@"; exit $?`

// runInside runs the tests in their namespaces.
func runInside() (int, error) {
	if os.Geteuid() != 0 {
		return 1, errors.New("these tests start containers: run them as root")
	}
	for _, program := range []string{"runc", "crun"} {
		if _, err := exec.LookPath(program); err != nil {
			return 1, fmt.Errorf("%w (make deps installs it)", err)
		}
	}
	if err := os.Setenv(innerMark, "1"); err != nil {
		return 1, err
	}
	self, err := os.Executable()
	if err != nil {
		return 1, err
	}
	cmd := exec.Command("sh", append([]string{"-c", enter, "sh", self}, os.Args[1:]...)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID, Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL,
	}
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}

func runAll(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "palisade-toolkit-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // for containers with a user namespace
		return 1, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	shared.dir, shared.rootfs = dir, filepath.Join(dir, "rootfs")
	if err := ctr.NewRootfs(ctx, shared.rootfs); err != nil {
		return 1, err
	}
	if shared.lxcfs, err = ctr.Program(ctx, dir, "lxcfs", "palisade/cmd/lxcfs"); err != nil {
		return 1, err
	}
	if shared.toolkit, err = ctr.Program(ctx, dir, "toolkit", "palisade/cmd/lxcfs-toolkit"); err != nil {
		return 1, err
	}
	return m.Run(), nil
}
