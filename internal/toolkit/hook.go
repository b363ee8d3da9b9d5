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
	"time"

	"palisade/internal/mounts"
	"palisade/internal/oci"
	"palisade/internal/probe"
	"palisade/internal/sys"
)

// stdinTime is how long a runtime may take to tell the hook of the container.
const stdinTime = 5 * time.Second

// Hook gives the container that a runtime is starting, of which it tells on stdin, lxcfs's files: the OCI hook prestart or
// createRuntime (runtime-spec, config.md, "POSIX-platform Hooks"). As a poststop hook it does nothing. It fails where the container is not to be understood or is gone. Where it is lxcfs that fails, the container is
// left as it was: a warning is logged, or with strict, an error returned.
func (t *Toolkit) Hook(ctx context.Context, stdin io.Reader, strict bool) error {
	looked := t.lookInBackground(ctx) // it takes as long as all the rest
	readCtx, cancel := context.WithTimeout(ctx, stdinTime)
	defer cancel()
	state, err := oci.ReadState(readCtx, stdin)
	if err != nil {
		return err
	}
	if state.HasStopped() {
		return nil // the registry finds that out by itself
	}
	place, err := openStarting(&state)
	if err != nil {
		return fmt.Errorf("container %s: %w", state.ID, err)
	}
	defer place.close()
	if err := t.registry().Add(state.ID, state.Pid); err != nil {
		t.Log.Warn("remount will not know the container", "container", state.ID, "err", err)
	}
	change, err := t.putStarting(ctx, place, looked)
	if len(change.Foreign) > 0 {
		t.Log.Warn("something else is mounted on files of the container; they are left alone",
			"container", state.ID, "files", strings.Join(change.Foreign, " "))
	}
	if err != nil && strict {
		return fmt.Errorf("container %s: %w", state.ID, err)
	}
	if err != nil {
		t.Log.Warn("the container starts without lxcfs", "container", state.ID, "err", err)
		return nil
	}
	t.Log.Info("the container has lxcfs's files", "container", state.ID, "pid", state.Pid, "files", len(change.Virtual))
	return nil
}

// looked is what a look at lxcfs has found.
type looked struct {
	result probe.Result
	err    error
}

func (t *Toolkit) lookInBackground(ctx context.Context) <-chan looked {
	found := make(chan looked, 1)
	go func() {
		result, err := probe.Look(ctx, t.Mountpoint, ProbeTime)
		found <- looked{result, err}
	}()
	return found
}

// putStarting puts all files into the place, or none.
func (t *Toolkit) putStarting(ctx context.Context, place *startingPlace, look <-chan looked) (mounts.Change, error) {
	var found looked
	select {
	case found = <-look:
	case <-ctx.Done():
		return mounts.Change{}, ctx.Err()
	}
	if found.err != nil {
		return mounts.Change{}, found.err
	}
	src, err := t.open(ctx, &found.result)
	if err != nil {
		return mounts.Change{}, err
	}
	defer src.Close()
	change, err := place.Put(src)
	if err != nil {
		return change, errors.Join(err, place.TakeBack(change))
	}
	return change, nil
}

// startingPlace is the place of a container that is being started.
type startingPlace struct {
	*mounts.Place
	process sys.File
}

func (p *startingPlace) close() {
	p.Place.Close()
	p.process.Close()
}

// errInside is the error for a hook of a stage that runs in the container's own namespaces.
var errInside = errors.New("the hook was started inside of the container, as createContainer and startContainer are: " +
	"it is to be a prestart or createRuntime hook")

// openStarting finds the container's mount namespace, and its root file system in it.
func openStarting(state *oci.State) (*startingPlace, error) {
	own, err := os.Readlink("/proc/self")
	if err != nil || own != strconv.Itoa(os.Getpid()) || state.Pid <= 1 {
		// In a pid namespace of the container the pids of the state, and those of /proc, are other processes'.
		return nil, errInside
	}
	process, err := sys.OpenDir("/proc/" + strconv.Itoa(state.Pid))
	if err != nil {
		return nil, fmt.Errorf("its process %d is gone: %w", state.Pid, err)
	}
	place, err := mounts.OpenPlace(process, "/")
	if err == nil {
		bundle, bundleErr := oci.ReadBundle(state.Bundle)
		if bundleErr == nil { // else it is unknown what the runtime mounts after its hooks
			place.IsFinal, place.ReadOnly = !bundle.HasMasks, bundle.ReadOnly
		}
		err = findRoot(place, process, state, bundle, bundleErr)
		if err != nil {
			place.Close()
		}
	} else if errors.Is(err, mounts.ErrHostNamespace) {
		err = errInside
	}
	if err != nil {
		process.Close()
		return nil, err
	}
	return &startingPlace{place, process}, nil
}

// findRoot finds the directory in the container's mount namespace that is going to be its root. A runtime runs the hooks
// when all is mounted there, but before it makes it the root (pivot_root); a poststart hook runs after that.
// Without a bundle, bundleErr is the reason.
func findRoot(
	place *mounts.Place, process sys.File, state *oci.State, bundle oci.Bundle, bundleErr error,
) error {
	table, err := place.Table()
	if err != nil {
		return fmt.Errorf("its process %d is gone: %w", state.Pid, err)
	}
	candidates := rootCandidates(state, bundle.Root)
	for _, dir := range candidates {
		if m := table.Top(filepath.Join(dir, "proc")); m != nil && m.FSType == "proc" {
			place.Root = dir
			return nil
		}
	}
	host, err2 := sys.Stat("/")
	root, err3 := process.StatAt("root/.")
	if err := errors.Join(err2, err3); err != nil {
		return err
	}
	if root.Inode != host.Inode || root.FileSystem != host.FileSystem {
		// It is its root already. LXC, which has no bundle, mounts nothing after its hook start-host.
		place.IsFinal = place.IsFinal || state.Bundle == ""
		return nil
	}
	return errors.Join(fmt.Errorf("no procfs is mounted below %s", strings.Join(candidates, " or ")), bundleErr)
}

// rootCandidates are the paths at which the root file system may be: what the state says (crun's may be relative to the
// bundle, lcr's is where it mounts it), lcr's environment, and the bundle's configuration.
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
