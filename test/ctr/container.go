// Package ctr starts containers for tests, the demo and the benchmarks: with runc or crun, a root
// file system of busybox, and the files of lxcfs in /proc.
package ctr

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// commandTime is the timeout of each call of a runtime. An emulated CPU needs seconds for one.
const commandTime = time.Minute

// Options describes a container. The zero value of a field is the runtime's default.
type Options struct {
	// Runtime is runc or crun, or the path of one. Wrapper, unless empty, is the command line of a
	// runtime wrapper that starts the container with it.
	Runtime string
	Wrapper []string
	// Rootfs is a root file system of NewRootfs. Several containers may share it if ReadOnly is set.
	Rootfs   string
	ReadOnly bool
	// Args is the command line of the init, by default one that sleeps.
	Args []string
	// Memory and MemorySwap (memory and swap together) are in bytes, Quota and Period in microseconds.
	Memory, MemorySwap, Quota, Period int64
	// CPUs is a cpuset, and Nodes its NUMA nodes, in the kernel's list format.
	CPUs, Nodes string
	// CgroupNamespace creates a cgroup namespace. HostPID uses the host's pid namespace, JoinPID
	// that of a process.
	CgroupNamespace, HostPID bool
	JoinPID                  int
	// Cgroup is the path of the cgroup, by default the container's id.
	Cgroup string
	// Capabilities are added to those that a runtime gives by default.
	Capabilities []string
	// UserOffset is the host's id for id 0 in a user namespace.
	UserOffset uint32
	// Lxcfs is the mount point of the lxcfs whose files are mounted.
	Lxcfs string
	// Seccomp is the filter of system calls.
	Seccomp *specs.LinuxSeccomp
	// Hooks replaces the hooks of Lxcfs.
	Hooks *specs.Hooks
	// Mounts and Devices are added.
	Mounts  []specs.Mount
	Devices []specs.LinuxDevice
	// Masked lists paths in /proc and /sys that are hidden, ReadOnlyPaths those that are read-only.
	Masked, ReadOnlyPaths []string
	// BlockIO are limits of the block devices.
	BlockIO *specs.LinuxBlockIO
}

// Container is a running container.
type Container struct {
	ID  string
	PID int
	// Lxcfs is the mount point of the lxcfs whose files are mounted.
	Lxcfs string
	// Took is the duration of the runtime's command that started it.
	Took    time.Duration
	runtime string
	bundle  string
}

// Start starts a container with its bundle in dir.
func Start(ctx context.Context, dir string, o Options) (*Container, error) {
	if o.Runtime == "" {
		o.Runtime = "runc"
	}
	c := &Container{ID: madeCgroup(fmt.Sprintf("palisade-%d-%08x", os.Getpid(), rand.Uint32())), runtime: o.Runtime, Lxcfs: o.Lxcfs}
	c.bundle = filepath.Join(dir, c.ID)
	if err := os.Mkdir(c.bundle, 0o755); err != nil {
		return nil, err
	}
	if err := o.WriteConfig(c.bundle, c.ID); err != nil {
		return nil, err
	}
	// The container inherits these as its standard streams: a pipe would stay open.
	log, err := os.Create(filepath.Join(c.bundle, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	// Do not kill the runtime halfway: its delete command would not remove all cgroups.
	run := []string{c.runtime}
	if len(o.Wrapper) > 0 {
		run = o.Wrapper
	}
	run = append(slices.Clone(run), "run", "--detach", "--bundle", c.bundle, c.ID)
	cmd, cancel := c.commandLine(context.WithoutCancel(ctx), run...)
	defer cancel()
	cmd.Stdout, cmd.Stderr = log, log
	started := time.Now()
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(log.Name()) // for the message only
		return nil, errors.Join(fmt.Errorf("%s run: %w: %s", o.Runtime, err, text), c.Remove())
	}
	c.Took = time.Since(started)
	if c.PID, err = c.pid(ctx); err == nil {
		err = c.waitForProgram()
	}
	if err != nil {
		return nil, errors.Join(err, c.Remove())
	}
	return c, nil
}

// waitForProgram waits until the init has executed its program, or ended. crun does not: before that,
// its exec fails with EPERM in a container with a user namespace.
func (c *Container) waitForProgram() error {
	const forkNoExec = 0x40 // PF_FORKNOEXEC of linux/sched.h
	for deadline := time.Now().Add(commandTime); ; time.Sleep(time.Millisecond) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.PID))
		if err != nil {
			return nil
		}
		var state string
		var flags uint64
		var skip int
		_, err = fmt.Sscan(string(stat[bytes.LastIndexByte(stat, ')')+1:]),
			&state, &skip, &skip, &skip, &skip, &skip, &flags)
		if err != nil || flags&forkNoExec == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("container %s: the init has not executed its program", c.ID)
		}
	}
}

func (c *Container) command(ctx context.Context, args ...string) (*exec.Cmd, context.CancelFunc) {
	return c.commandLine(ctx, append([]string{c.runtime}, args...)...)
}

// commandLine returns a command that executes the runtime, or a wrapper of it.
func (c *Container) commandLine(ctx context.Context, args ...string) (*exec.Cmd, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	args = CommandLine(c.runtime, args...)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // only the caller gets Ctrl-C, and cleans up
	cmd.WaitDelay = time.Second
	return cmd, cancel
}

// CommandLine returns the command line that runs a runtime. crun rejects machines with controllers
// both on v1 and on v2: it runs in a mount namespace without v2.
func CommandLine(runtime string, args ...string) []string {
	if !strings.HasSuffix(runtime, "crun") || !hasMixedCgroups() {
		return args
	}
	return append([]string{"unshare", "--mount", "sh", "-c", `umount /sys/fs/cgroup/unified && exec "$@"`, "sh"}, args...)
}

// hasMixedCgroups reports whether v2 has controllers although v1 is mounted.
func hasMixedCgroups() bool {
	text, err := os.ReadFile("/sys/fs/cgroup/unified/cgroup.controllers")
	return err == nil && len(bytes.TrimSpace(text)) > 0
}

// call runs the runtime and returns its output.
func (c *Container) call(ctx context.Context, args ...string) (string, error) {
	cmd, cancel := c.command(ctx, args...)
	defer cancel()
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %s", c.runtime, strings.Join(args, " "), err, stderr.String())
	}
	return out.String(), nil
}

func (c *Container) pid(ctx context.Context) (int, error) {
	out, err := c.call(ctx, "state", c.ID)
	if err != nil {
		return 0, err
	}
	var state specs.State
	if err := json.Unmarshal([]byte(out), &state); err != nil {
		return 0, fmt.Errorf("parse state: %w", err)
	}
	return state.Pid, nil
}

// Exec runs a program in the container and returns its output.
func (c *Container) Exec(ctx context.Context, args ...string) (string, error) {
	return c.call(ctx, append([]string{"exec", c.ID}, args...)...)
}

// ExecStart starts a program in the container in the background.
func (c *Container) ExecStart(ctx context.Context, args ...string) error {
	log, err := os.OpenFile(filepath.Join(c.bundle, "log"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd, cancel := c.command(ctx, append([]string{"exec", "--detach", c.ID}, args...)...)
	defer cancel()
	cmd.Stdout, cmd.Stderr = log, log
	return cmd.Run()
}

// Update changes limits, as the runtime's update command does.
func (c *Container) Update(ctx context.Context, r specs.LinuxResources) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	file := filepath.Join(c.bundle, "resources.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return err
	}
	_, err = c.call(ctx, "update", "--resources", file, c.ID)
	return err
}

// Log returns the output of the init and of programs started by ExecStart.
func (c *Container) Log() string {
	text, err := os.ReadFile(filepath.Join(c.bundle, "log"))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Remove kills and removes the container, if it exists.
func (c *Container) Remove() error {
	ctx := context.Background() // also after the test has been cancelled
	_, err := c.call(ctx, "delete", "--force", c.ID)
	return errors.Join(err, os.RemoveAll(c.bundle))
}

// CPUTime returns the CPU time that the container's cgroup has used.
func (c *Container) CPUTime(t testing.TB) time.Duration {
	t.Helper()
	dir, err := c.Cgroup("cpuacct")
	if err != nil {
		t.Fatal(err)
	}
	file, unit := filepath.Join(dir, "cpuacct.usage"), time.Nanosecond
	if OnV2() {
		file, unit = filepath.Join(dir, "cpu.stat"), time.Microsecond
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseInt(strings.Fields(strings.TrimPrefix(string(text), "usage_usec "))[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(n) * unit
}

// Cgroup returns the directory of the container's cgroup: for a v1 controller, or on v2.
func (c *Container) Cgroup(controller string) (string, error) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(c.PID), "cgroup"))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		if slices.Contains(strings.Split(fields[1], ","), controller) { // a hierarchy may have several
			return filepath.Join("/sys/fs/cgroup", fields[1], fields[2]), nil
		}
		if fields[1] == "" && OnV2() {
			return filepath.Join("/sys/fs/cgroup", fields[2]), nil
		}
	}
	return "", fmt.Errorf("container %s has no cgroup of %s in %q", c.ID, controller, text)
}

// OnV2 reports whether this machine has only cgroup v2.
func OnV2() bool {
	_, err := os.Stat("/sys/fs/cgroup/cgroup.controllers")
	return err == nil
}
