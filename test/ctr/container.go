// Package ctr starts real containers for tests, the demo and the benchmark: with runc or crun, on a root file system of
// busybox, with lxcfs's files in their /proc.
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
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// commandTime bounds each call of a runtime. Under an emulated CPU they take seconds.
const commandTime = time.Minute

// Options say what container is wanted. The zero value of a field stands for what a runtime gives by default.
type Options struct {
	// Runtime is runc or crun.
	Runtime string
	// Rootfs is the root file system that NewRootfs made. It may serve many containers; ReadOnly keeps them apart.
	Rootfs   string
	ReadOnly bool
	// Args is the init, by default one that sleeps.
	Args []string
	// Memory and MemorySwap (both together) are limits in bytes, Quota one in microseconds for each Period.
	Memory, MemorySwap, Quota, Period int64
	// CPUs is a cpuset, in the kernel's list format.
	CPUs string
	// CgroupNamespace gives it a cgroup namespace of its own; HostPID and JoinPID, the pid of a process, no pid namespace.
	CgroupNamespace, HostPID bool
	JoinPID                  int
	// Cgroup is its cgroup, by default one named by its id.
	Cgroup string
	// Capabilities are added to those that a runtime gives by default.
	Capabilities []string
	// UserOffset maps its ids to the host's from this number on.
	UserOffset uint32
	// Lxcfs is a mount point of lxcfs, whose files it gets.
	Lxcfs string
	// Hooks are run instead of what gives it lxcfs's files.
	Hooks *specs.Hooks
	// Mounts are added, and Devices: nodes of block devices in its /dev.
	Mounts  []specs.Mount
	Devices []specs.LinuxDevice
	// Masked are paths in /proc and /sys that it cannot read, ReadOnlyPaths those that it cannot
	// write.
	Masked, ReadOnlyPaths []string
	// BlockIO are limits of the block devices.
	BlockIO *specs.LinuxBlockIO
}

// Container is a running container.
type Container struct {
	ID  string
	PID int
	// Lxcfs is the mount point of the lxcfs whose files it has.
	Lxcfs string
	// Took is how long the runtime's command took that started it.
	Took    time.Duration
	runtime string
	bundle  string
}

// Start starts a container, with the directory of its bundle in dir.
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
	// The container keeps these as its standard streams: a pipe would never end.
	log, err := os.Create(filepath.Join(c.bundle, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	// Once begun it goes on to its end: a runtime killed halfway leaves cgroups that its delete command knows nothing of.
	cmd, cancel := c.command(context.WithoutCancel(ctx), "run", "--detach", "--bundle", c.bundle, c.ID)
	defer cancel()
	cmd.Stdout, cmd.Stderr = log, log
	started := time.Now()
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(log.Name()) // for the message alone
		return nil, errors.Join(fmt.Errorf("%s run: %w: %s", o.Runtime, err, text), c.Remove())
	}
	c.Took = time.Since(started)
	if c.PID, err = c.pid(ctx); err != nil {
		return nil, errors.Join(err, c.Remove())
	}
	return c, nil
}

func (c *Container) command(ctx context.Context, args ...string) (*exec.Cmd, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	args = CommandLine(c.runtime, append([]string{c.runtime}, args...)...)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the caller, who ends the container in order
	cmd.WaitDelay = time.Second
	return cmd, cancel
}

// CommandLine returns the command line that runs a runtime. crun refuses a machine where v2 has
// controllers beside those of v1: it is shown one without v2, in a mount namespace of its own.
func CommandLine(runtime string, args ...string) []string {
	if !strings.HasSuffix(runtime, "crun") || !hasMixedCgroups() {
		return args
	}
	return append([]string{"unshare", "--mount", "sh", "-c", `umount /sys/fs/cgroup/unified && exec "$@"`, "sh"}, args...)
}

// hasMixedCgroups reports whether v2 has controllers beside those of v1.
func hasMixedCgroups() bool {
	text, err := os.ReadFile("/sys/fs/cgroup/unified/cgroup.controllers")
	return err == nil && len(bytes.TrimSpace(text)) > 0
}

// call runs the runtime and returns what it prints.
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

// Exec runs a program inside and returns what it prints.
func (c *Container) Exec(ctx context.Context, args ...string) (string, error) {
	return c.call(ctx, append([]string{"exec", c.ID}, args...)...)
}

// ExecStart starts a program inside that goes on by itself; the container's end is its end.
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

// Log returns the output of the container's programs for which no caller waited.
func (c *Container) Log() string {
	text, err := os.ReadFile(filepath.Join(c.bundle, "log"))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Remove kills and removes the container, if it is there.
func (c *Container) Remove() error {
	ctx := context.Background() // it is wanted also when the test has been cancelled
	_, err := c.call(ctx, "delete", "--force", c.ID)
	return errors.Join(err, os.RemoveAll(c.bundle))
}

// Cgroup is the directory of the container's cgroup for a v1 controller, or on v2.
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
		if slices.Contains(strings.Split(fields[1], ","), controller) { // several may be mounted together
			return filepath.Join("/sys/fs/cgroup", fields[1], fields[2]), nil
		}
		if fields[1] == "" && OnV2() {
			return filepath.Join("/sys/fs/cgroup", fields[2]), nil
		}
	}
	return "", fmt.Errorf("container %s has no cgroup of %s in %q", c.ID, controller, text)
}

// OnV2 reports whether this machine has cgroup v2 alone.
func OnV2() bool {
	_, err := os.Stat("/sys/fs/cgroup/cgroup.controllers")
	return err == nil
}
