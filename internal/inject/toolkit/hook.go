package toolkit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/internal/inject/engine"
	"palisade/internal/inject/mounts"
	"palisade/internal/inject/probe"
	"palisade/internal/linux/sys"
	"palisade/internal/oci"
)

// stdinTime bounds the time that a runtime takes to write the container's state to the hook.
const stdinTime = 5 * time.Second

// Hook mounts the files of lxcfs in a container that a runtime is starting, whose state it reads
// from stdin. It is the OCI hook prestart or createRuntime (runtime-spec, config.md,
// "POSIX-platform Hooks"). As a poststop hook it does nothing. It returns an error if the state is
// invalid or the container has ended. If lxcfs fails, the container stays as it was: Hook logs a
// warning, or with strict returns an error.
func (t *Toolkit) Hook(ctx context.Context, stdin io.Reader, strict bool) error {
	look := t.startLook(ctx)
	readCtx, cancel := context.WithTimeout(ctx, stdinTime)
	defer cancel()
	state, err := oci.ReadState(readCtx, stdin)
	if err != nil {
		return err
	}
	if state.HasStopped() {
		return nil // the registry removes containers that have ended
	}
	own, err := os.Readlink("/proc/self")
	if err != nil || own != strconv.Itoa(os.Getpid()) || state.Pid <= 1 {
		// In the container's pid namespace, /proc and the pid of the state mean other processes.
		return fmt.Errorf("container %s: %w", state.ID, errInside)
	}
	process, mountNS, err := openStarting(&state)
	if errors.Is(err, mounts.ErrHostNamespace) {
		err = errInside
	}
	if err != nil {
		return fmt.Errorf("container %s: %w", state.ID, err)
	}
	defer process.Close()
	defer mountNS.Close()
	change, err := t.putStarting(ctx, &state, mountNS, look)
	if err != nil && strict {
		return fmt.Errorf("container %s: %w", state.ID, err)
	}
	if err != nil {
		t.Log.Warn("the container starts without lxcfs", "container", state.ID, "err", err)
		return nil
	}
	t.Log.Info("mounted the files of lxcfs",
		"container", state.ID, "pid", state.Pid, "files", len(change.Virtual))
	return nil
}

// startLook begins to probe lxcfs, which takes as long as the rest of the hook, and returns a
// function that returns the result.
func (t *Toolkit) startLook(ctx context.Context) func() (probe.Result, error) {
	look := sync.OnceValues(func() (probe.Result, error) { return t.Look(ctx) })
	go look()
	return look
}

// Start mounts the files of lxcfs in a container that is created but not started: its runtime has
// made all its mounts and changed its root. If that fails, the container stays as it was. The error
// is mounts.ErrHostNamespace for a container that has no mount namespace of its own, such as a
// virtual machine. If ctx ends first, a goroutine may still be mounting when Start returns.
func (t *Toolkit) Start(ctx context.Context, c engine.Container) (mounts.Change, error) {
	if c.PID <= 0 {
		return mounts.Change{}, ErrNoProcess
	}
	look := t.startLook(ctx)
	change, err := sys.Within(ctx, func() (mounts.Change, error) {
		state := oci.State{State: specs.State{ID: c.ID, Pid: c.PID}}
		process, mountNS, err := openStarting(&state)
		if err != nil {
			return mounts.Change{}, err
		}
		defer process.Close()
		defer mountNS.Close()
		if cgroups, err := process.ReadFileAt("cgroup", nil); err != nil || !c.IsNamedIn(cgroups) {
			err = errors.Join(fmt.Errorf("process %d is in no cgroup of the container", c.PID), err)
			return mounts.Change{}, err
		}
		return t.putStarting(ctx, &state, mountNS, look)
	}, nil)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("timed out: %w", err)
	}
	return change, err
}

// ErrNoProcess is the error for a container without a process.
var ErrNoProcess = errors.New("the runtime reports no process of the container")

// Forget removes the process of a container that has ended from the registry.
func (t *Toolkit) Forget(pid int) { t.registry().Forget(pid) }

// putStarting registers the container, and mounts all files of lxcfs in it, or none.
func (t *Toolkit) putStarting(
	ctx context.Context, state *oci.State, mountNS *mounts.MountNS,
	look func() (probe.Result, error),
) (mounts.Change, error) {
	if err := t.registry().Add(state.ID, state.Pid); err != nil {
		t.Log.Warn("container not registered for remount", "container", state.ID, "err", err)
	}
	found, err := look()
	if err != nil {
		return mounts.Change{}, err
	}
	src, err := t.open(ctx, &found)
	if err != nil {
		return mounts.Change{}, err
	}
	defer src.Close()
	change, err := mountNS.Put(src)
	if len(change.Foreign) > 0 {
		t.Log.Warn("left files of the container alone on which something else is mounted",
			"container", state.ID, "files", strings.Join(change.Foreign, " "))
	}
	if err != nil {
		return change, errors.Join(err, mountNS.TakeBack(change))
	}
	return change, nil
}

// errInside is the error for a hook of a stage that runs in the container's namespaces.
var errInside = errors.New("the hook runs in the container's namespaces, " +
	"as createContainer and startContainer do: want a prestart or createRuntime hook")

// openStarting opens the container's process and its mount namespace, and finds its root file
// system there. The caller must close both.
func openStarting(state *oci.State) (process sys.File, mountNS *mounts.MountNS, err error) {
	process, err = sys.OpenDir("/proc/" + strconv.Itoa(state.Pid))
	if err != nil {
		return process, nil, fmt.Errorf("open process %d: %w", state.Pid, err)
	}
	mountNS, err = mounts.OpenMountNS(process, "/")
	if err == nil {
		var bundle oci.Bundle
		var bundleErr error
		if state.Bundle != "" {
			bundle, bundleErr = oci.ReadBundle(state.Bundle)
			if bundleErr == nil { // otherwise it is unknown what the runtime mounts after its hooks
				mountNS.IsFinal, mountNS.ReadOnly = !bundle.HasMasks, bundle.ReadOnly
			}
		}
		err = findRoot(mountNS, process, state, bundle, bundleErr)
		if err != nil {
			mountNS.Close()
		}
	}
	if err != nil {
		process.Close()
	}
	return process, mountNS, err
}

// findRoot sets mountNS.Root to the directory in the container's mount namespace that will be its
// root. A runtime runs the hooks after it has mounted everything there, but before pivot_root(2); a
// poststart hook runs after that. If the bundle could not be read, bundleErr is the reason.
func findRoot(
	mountNS *mounts.MountNS, process sys.File, state *oci.State, bundle oci.Bundle, bundleErr error,
) error {
	table, err := mountNS.Table()
	if err != nil {
		return fmt.Errorf("process %d: %w", state.Pid, err)
	}
	candidates := rootCandidates(state, bundle.Root)
	for _, dir := range candidates {
		if m := table.Top(filepath.Join(dir, "proc")); m != nil && m.FSType == "proc" {
			mountNS.Root = dir
			return nil
		}
	}
	host, err2 := sys.Stat("/")
	root, err3 := process.StatAt("root/.")
	if err := errors.Join(err2, err3); err != nil {
		return err
	}
	if root.Number != host.Number || root.FileSystem != host.FileSystem {
		// The root was changed already. LXC, which has no bundle, mounts nothing after start-host.
		mountNS.IsFinal = mountNS.IsFinal || state.Bundle == ""
		return nil
	}
	err = fmt.Errorf("no procfs is mounted below %s", strings.Join(candidates, " or "))
	return errors.Join(err, bundleErr)
}

// rootCandidates returns the possible paths of the root file system: from the state (crun's may be
// relative to the bundle, lcr's is a mount point), from lcr's environment, and from the bundle's
// configuration.
func rootCandidates(state *oci.State, bundleRoot string) (dirs []string) {
	add := func(dir string) {
		if dir == "" {
			return
		}
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(state.Bundle, dir)
		}
		if resolved, err := filepath.EvalSymlinks(dir); err == nil {
			dir = resolved
		}
		if !slices.Contains(dirs, dir) && dir != "/" {
			dirs = append(dirs, dir)
		}
	}
	add(state.Root)
	add(os.Getenv("LXC_ROOTFS_MOUNT"))
	add(bundleRoot)
	add(os.Getenv("LXC_ROOTFS_PATH"))
	return dirs
}
