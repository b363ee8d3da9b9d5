//go:build integration

// Package lxc tests lxcfs, its toolkit and the hooks of palisade-lxc with Debian's LXC, as root.
// The tests run in pid, mount and cgroup namespaces with an empty /run and /var/lib, and writable
// /usr and /etc.
package lxc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"palisade/test/ctr"
	"palisade/test/engine"
)

const (
	lxcfsProgram = "/usr/bin/lxcfs"
	toolkit      = "/usr/bin/lxcfs-toolkit"
	palisade     = "/usr/bin/palisade" // executed by lxcfs-toolkit top
	mountpoint   = "/var/lib/lxc/lxcfs"
	// hookDir is the path at which the mount hook of LXC expects lxcfs.
	hookDir = "/var/lib/lxcfs"
	cpuDir  = "/sys/devices/system/cpu"
)

// shared holds a directory and a root file system of busybox for all containers.
var shared struct{ dir, rootfs string }

// hostMark is set in the environment of the tests inside the namespaces.
const hostMark = "PALISADE_LXC_HOST"

func TestMain(m *testing.M) {
	if os.Getenv(hostMark) == "" {
		os.Exit(runOnHost())
	}
	code, err := runAll(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "lxc:", err)
		code = 1
	}
	os.Exit(code)
}

// isEmulated reports whether the CPU is emulated, and each step takes seconds.
func isEmulated() bool { return os.Getenv("PALISADE_VM") != "" }

// runOnHost runs this program again in the namespaces and returns its exit code.
func runOnHost() int {
	code, err := func() (code int, err error) {
		if os.Geteuid() != 0 {
			return 1, errors.New("the tests start containers: run them as root")
		}
		self, err := os.Executable()
		if err != nil {
			return 1, err
		}
		dir, err := os.MkdirTemp("", "palisade-lxc-")
		if err != nil {
			return 1, err
		}
		defer os.RemoveAll(dir)
		if err := os.Chmod(dir, 0o755); err != nil { // for users other than root
			return 1, err
		}
		var cgroups []string
		defer func() { err = errors.Join(err, ctr.RemoveCgroups(cgroups...)) }()
		if cgroups, err = engine.NewCgroups(fmt.Sprintf("palisade-lxc-%d", os.Getpid())); err != nil {
			return 1, err
		}
		args := append([]string{"--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child",
			"sh", "-c", engine.EnterCgroups, "sh"}, cgroups...)
		args = append(args, "--", "sh", "testdata/host.sh", dir, engine.MountCgroups, self)
		cmd := exec.Command("unshare", append(args, os.Args[1:]...)...)
		cmd.Env = append(os.Environ(), hostMark+"="+dir)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		err = cmd.Run()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return exit.ExitCode(), nil
		}
		return 0, err
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "lxc:", err)
		return 1
	}
	return code
}

func runAll(m *testing.M) (code int, err error) {
	suite := ctr.Suite{Name: "lxc", Setup: setUp,
		Programs: []string{"lxc-start", "newuidmap", "runc", "busybox", "setpriv"}}
	return suite.RunHere(m)
}

func setUp(ctx context.Context, _ string) (cleanup func() error, err error) {
	shared.dir = os.Getenv(hostMark)
	if err := installPrograms(ctx); err != nil {
		return nil, err
	}
	shared.rootfs = filepath.Join(shared.dir, "rootfs")
	return nil, ctr.NewInitRootfs(ctx, shared.rootfs, inittab)
}

// inittab makes busybox's init start, and restart, a single process.
const inittab = "::respawn:/bin/sleep 100000\n"

// installPrograms installs the programs and the hooks of the packages at their paths.
func installPrograms(ctx context.Context) error {
	for path, pkg := range map[string]string{
		lxcfsProgram: "palisade/cmd/lxcfs", toolkit: "palisade/cmd/lxcfs-toolkit",
		palisade: "palisade/cmd/palisade",
	} {
		name := map[string]string{lxcfsProgram: "lxcfs", toolkit: "toolkit", palisade: "palisade"}[path]
		program, err := ctr.Program(ctx, shared.dir, name, pkg)
		if err != nil {
			return err
		}
		out, err := exec.Command("cp", "--remove-destination", program, path).CombinedOutput()
		if err != nil {
			return fmt.Errorf("install %s: %w: %s", path, err, out)
		}
	}
	hooks := os.Getenv("PALISADE_HOOKS")
	if hooks == "" {
		hooks = "../../hooks"
	}
	for name, path := range map[string]string{
		"lxc.mount.hook":  "/usr/share/lxcfs/lxc.mount.hook",
		"lxc.reboot.hook": "/usr/share/lxcfs/lxc.reboot.hook",
		"start-host":      "/usr/share/palisade/hooks/lxc/start-host",
		"00-lxcfs.conf":   "/usr/share/lxc/config/common.conf.d/00-lxcfs.conf",
	} {
		mode := "755"
		if filepath.Ext(name) == ".conf" {
			mode = "644"
		}
		out, err := exec.Command("install", "-D", "-m", mode,
			filepath.Join(hooks, "lxc", name), path).CombinedOutput()
		if err != nil {
			return fmt.Errorf("install %s: %w: %s", path, err, out)
		}
	}
	return nil
}
