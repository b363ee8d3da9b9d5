//go:build integration

package lxc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"palisade/test/ctr"
	"palisade/test/engine"
)

const mib = 1 << 20

// options describes a container. The zero value of a field is a default.
type options struct {
	// name is its name, engine its engine in the output of list.
	name, engine string
	// lxcPath is the directory of its configuration.
	lxcPath string
	rootfs  string
	// init is the command line of its first process.
	init string
	// memory is a limit in bytes.
	memory int64
	// config holds more lines of its configuration. withoutCommon omits LXC's common.conf.
	config        []string
	withoutCommon bool
	// foreground keeps lxc-start running, as services do.
	foreground bool
	// user is a user other than root.
	user *user
}

// container is a running container of LXC.
type container struct {
	name, engine, lxcPath string
	pid                   int
	user                  *user
}

// newContainer starts a container, which is stopped after the test.
func (h *host) newContainer(t *testing.T, o options) *container {
	t.Helper()
	c := &container{name: o.name, engine: o.engine, lxcPath: o.lxcPath, user: o.user}
	if c.engine == "" {
		c.engine = "lxc"
	}
	if c.name == "" {
		c.name = fmt.Sprintf("palisade-lxc-%d", h.containers+1)
	}
	if c.lxcPath == "" {
		c.lxcPath = filepath.Join(h.dir, "containers")
	}
	if o.rootfs == "" {
		o.rootfs = shared.rootfs
	}
	if o.init == "" {
		o.init = "/bin/sleep 1000000"
	}
	if o.memory == 0 {
		o.memory = 512 * mib // the kernel frees the memory of ended processes late
	}
	var lines []string
	if !o.withoutCommon {
		lines = append(lines, "lxc.include = /usr/share/lxc/config/common.conf")
	}
	lines = append(lines,
		"lxc.rootfs.path = dir:"+o.rootfs,
		"lxc.uts.name = "+c.name,
		"lxc.apparmor.profile = unconfined",
		"lxc.net.0.type = empty",
		"lxc.init.cmd = "+o.init,
		"lxc.mount.entry = tmpfs tmp tmpfs mode=1777 0 0",
	)
	lines = append(append(lines, limits(o.memory)...), o.config...)
	dir := filepath.Join(c.lxcPath, c.name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	text := strings.Join(lines, "\n") + "\n"
	if err := os.WriteFile(filepath.Join(dir, "config"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if o.user != nil {
		if err := o.user.own(c.lxcPath); err != nil {
			t.Fatal(err)
		}
	}
	log := filepath.Join(dir, "log")
	args := []string{"lxc-start", "-n", c.name, "-P", c.lxcPath, "-o", log, "-l", "WARN"}
	if c.lxcPath == "/var/lib/lxc" { // the default, which services do not pass
		args = slices.Delete(args, 3, 5)
	}
	h.containers++
	t.Cleanup(func() {
		if text, _ := os.ReadFile(log); t.Failed() && len(text) > 0 {
			t.Logf("%s: %s", c.name, text)
		}
		c.stop(t)
	})
	if o.foreground {
		c.startForeground(t, args)
	} else if out, err := c.run(t, args...); err != nil {
		t.Fatalf("%q: %v: %s", args, err, out)
	}
	c.findPID(t)
	return c
}

// startForeground runs lxc-start until the container is stopped.
func (c *container) startForeground(t *testing.T, args []string) {
	t.Helper()
	cmd := exec.Command(args[0], append([]string{"-F"}, args[1:]...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.stop(t)
		cmd.Wait() // fails, as the container was killed
	})
}

// limits returns lines of a configuration that limit memory (in bytes), and CPUs to one.
func limits(memory int64) []string {
	if ctr.OnV2() {
		return []string{
			fmt.Sprintf("lxc.cgroup2.memory.max = %d", memory), "lxc.cgroup2.memory.swap.max = 0",
			"lxc.cgroup2.cpu.max = 100000 100000",
		}
	}
	return []string{
		fmt.Sprintf("lxc.cgroup.memory.limit_in_bytes = %d", memory),
		"lxc.cgroup.cpu.cfs_period_us = 100000", "lxc.cgroup.cpu.cfs_quota_us = 100000",
	}
}

// run runs a program of LXC as the container's user.
func (c *container) run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	if c.user != nil {
		args = c.user.command(args...)
	}
	return runBounded(t, args...)
}

// findPID waits until the container runs, and finds the pid of its init.
func (c *container) findPID(t *testing.T) {
	t.Helper()
	engine.WaitFor(t, c.name+" runs", func() bool {
		out, err := c.run(t, "lxc-info", "-P", c.lxcPath, "-n", c.name, "-p", "-H")
		if err != nil {
			return false
		}
		c.pid, err = strconv.Atoi(strings.TrimSpace(out))
		return err == nil && c.pid > 0
	})
}

// stop kills the container.
func (c *container) stop(t *testing.T) {
	t.Helper()
	if c.pid == 0 {
		return
	}
	if out, err := c.run(t, "lxc-stop", "-P", c.lxcPath, "-n", c.name, "-k"); err != nil {
		t.Errorf("lxc-stop %s: %v: %s", c.name, err, out)
	}
	c.pid = 0
}

// exec runs a program in the container and returns its output.
func (c *container) exec(t *testing.T, args ...string) (string, error) {
	t.Helper()
	attach := []string{"lxc-attach", "-P", c.lxcPath, "-n", c.name, "--clear-env",
		"-v", "PATH=/bin:/usr/bin:/sbin", "--"}
	return c.run(t, append(attach, args...)...)
}

// inside runs a program in the container, which must succeed.
func (c *container) inside(t *testing.T, args ...string) string {
	t.Helper()
	out, err := c.exec(t, args...)
	if err != nil {
		t.Fatalf("%q in %s: %v: %s", args, c.name, err, out)
	}
	return out
}

// read returns the content of a file in the container, or "".
func (c *container) read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(c.pid), "root", name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return string(text)
}

// files returns the files of lxcfs in the container, without the trees for nested containers.
func (c *container) files(t *testing.T) (files []string) {
	t.Helper()
	for _, path := range mountsOf(t, strconv.Itoa(c.pid), "fuse.lxcfs") {
		switch path {
		case hookDir, mountpoint:
		case "/proc/pressure": // the mount hook mounts the whole directory
			files = append(files, path+"/cpu", path+"/io", path+"/memory")
		default:
			files = append(files, path)
		}
	}
	slices.Sort(files)
	return files
}

// ownMemory is the first line of meminfo with the default limit.
const ownMemory = "MemTotal:         524288 kB\n"

// memory returns the first line of the container's meminfo.
func (c *container) memory(t *testing.T) string {
	t.Helper()
	return c.inside(t, "head", "-n", "1", "/proc/meminfo")
}

// checkVirtual checks that the container has each file of lxcfs once, with its limits.
func (h *host) checkVirtual(t *testing.T, c *container) {
	t.Helper()
	if got, want := c.files(t), h.served(t); !slices.Equal(got, want) {
		t.Errorf("%s has %q, want %q", c.name, got, want)
	}
	const want = ownMemory + "processor\t: 0\n1\n0\n"
	text := c.inside(t, "sh", "-c", "for file in meminfo cpuinfo; do head -n 1 /proc/$file; done; "+
		"grep -c ^processor /proc/cpuinfo; cat "+cpuDir+"/online")
	if text != want {
		t.Errorf("%s has %q, want %q", c.name, text, want)
	}
}

// checkHost checks that the container has the files of the host and no mount of lxcfs.
func (h *host) checkHost(t *testing.T, c *container) {
	t.Helper()
	if got := mountsOf(t, strconv.Itoa(c.pid), "fuse.lxcfs"); len(got) > 0 {
		t.Errorf("%s has mounts of lxcfs: %q", c.name, got)
	}
	total, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		t.Fatal(err)
	}
	if text := c.memory(t); !strings.HasPrefix(string(total), text) {
		t.Errorf("%s has %q, want the host's", c.name, text)
	}
}
