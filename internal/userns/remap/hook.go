package remap

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"palisade/internal/linux/sys"
	"palisade/internal/oci"
	"palisade/internal/oci/idmap"
	"palisade/internal/userns/idmount"
	"palisade/internal/userns/ranges"
)

// Stage is the time at which a hook runs (runtime-spec, config.md, "POSIX-platform Hooks";
// oci-hooks(5) for precreate).
type Stage = string

const (
	// AutoStage stands for the stage that fits the object on stdin.
	AutoStage     Stage = "auto"
	Precreate     Stage = "precreate"
	Prestart      Stage = "prestart"
	CreateRuntime Stage = "createRuntime"
	PostStop      Stage = "poststop"
)

// Stages lists all stages.
var Stages = []string{AutoStage, Precreate, Prestart, CreateRuntime, PostStop}

const (
	stdinTimeout = 5 * time.Second
	maxStdin     = 16 << 20
	// reserve is the time before the runtime's deadline at which a hook stops, to report why.
	reserve = 2 * time.Second
	// lcrTimeout is the time after which lcr kills a hook without a timeout.
	lcrTimeout = 30 * time.Second
)

// Hook is an OCI hook.
type Hook struct {
	*Remapper
	Stage Stage
	// Root is the root file system, by default the one in the container's configuration or state.
	Root string
	// Deadline is the time after which the hook stops, by default before the runtime kills it.
	Deadline time.Duration
	// Program is the hook's path in the container's configuration, which has its timeout.
	Program string
}

// Run reads the container's state or, at precreate, its configuration from stdin. At precreate it
// writes the changed configuration to stdout.
func (h *Hook) Run(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
	text, err := readInput(ctx, stdin)
	if err != nil {
		return err
	}
	stage := h.Stage
	if stage == AutoStage {
		stage = guessStage(text)
	}
	if stage == Precreate {
		return h.precreate(ctx, text, stdout)
	}
	state, err := oci.ReadState(ctx, bytes.NewReader(text))
	if err != nil {
		return err
	}
	if stage == PostStop || state.HasStopped() {
		err = h.Release(ctx, state.ID, state.Bundle)
	} else {
		err = h.runStart(ctx, &state)
	}
	if err != nil {
		return fmt.Errorf("container %s: %w", state.ID, err)
	}
	return nil
}

func readInput(ctx context.Context, r io.Reader) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, stdinTimeout)
	defer cancel()
	return oci.ReadObject[json.RawMessage](ctx, r, "hook state or configuration", maxStdin)
}

// guessStage returns Precreate for a configuration, Prestart for a state, which has an id.
func guessStage(text []byte) Stage {
	var known struct{ ID, Process any }
	if err := json.Unmarshal(text, &known); err == nil && known.ID == nil && known.Process != nil {
		return Precreate
	}
	return Prestart
}

// precreate changes the container's configuration and shifts its root file system and volumes.
func (h *Hook) precreate(ctx context.Context, text []byte, stdout io.Writer) error {
	c, err := oci.ParseConfig(text)
	if err != nil {
		return fmt.Errorf("parse the configuration on stdin: %w", err)
	}
	h.readCopyUp(c)
	root := cmp.Or(h.Root, c.RootPath(""))
	pair, err := h.requestedMaps(c, func(size uint32, own idmap.Pair) (idmap.Pair, error) {
		if !own.IsZero() {
			return own, nil
		}
		return h.allocate(ctx, size, ranges.Container{}, root)
	})
	if err != nil {
		return err
	}
	if !pair.IsZero() {
		ctx, cancel := h.withDeadline(ctx, c)
		defer cancel()
		if err := h.precreateMapped(ctx, c, pair, root); err != nil {
			return err
		}
	}
	changed, err := c.Encode()
	if err != nil {
		return err
	}
	_, err = stdout.Write(changed)
	return err
}

func (h *Hook) precreateMapped(
	ctx context.Context, c *oci.Config, pair idmap.Pair, root string,
) error {
	if err := h.adapt(c, pair); err != nil {
		return err
	}
	if !filepath.IsAbs(root) {
		return fmt.Errorf("root file system %q is not an absolute path", root)
	}
	if h.Mode == IDMap {
		return errors.New("--mode idmap does not work at precreate, before the container has an id; " +
			"use the runtime wrapper")
	}
	if err := h.shiftRoot(ctx, root, pair); err != nil {
		return err
	}
	return h.shiftVolumes(ctx, c, pair, "", "")
}

// runStart maps the ids of the root file system of a container that is being started.
func (h *Hook) runStart(ctx context.Context, state *oci.State) error {
	own, err := os.Readlink("/proc/self")
	if err != nil || own != strconv.Itoa(os.Getpid()) || state.Pid <= 1 {
		return errors.New("the hook was started inside the container, as createContainer and " +
			"startContainer are, want a precreate, prestart or createRuntime hook")
	}
	process, err := sys.OpenDir("/proc/" + strconv.Itoa(state.Pid))
	if err != nil {
		return fmt.Errorf("process %d is gone: %w", state.Pid, err)
	}
	defer process.Close()
	pair, err := oci.MapsOf(process)
	c, configErr := oci.ReadConfig(filepath.Join(state.Bundle, oci.ConfigFile))
	if errors.Is(err, oci.ErrNoUserNamespace) {
		return h.checkUnmapped(c)
	}
	if err != nil {
		return err
	}
	if uid, gid, ok := pair.Root(); ok && (uid == 0) != (gid == 0) {
		// iSulad 2.1.6 does that for a user remap which has no effect by its manual.
		h.Log.Warn("the runtime has made a user namespace in which root is uid or gid 0 of the host",
			"maps", pair.String())
	}
	if c != nil {
		h.readCopyUp(c)
		if c.Spec.Annotations[Annotation] != "" {
			if _, err := h.requestedMaps(c, keepOwn); err != nil {
				return err
			}
		}
	}
	root, err := h.findRoot(state, c, configErr)
	if err != nil {
		return err
	}
	ctx, cancel := h.withDeadline(ctx, c)
	defer cancel()
	if h.Mode == IDMap {
		err = h.switchRoot(ctx, process, root)
	} else {
		err = h.shiftRoot(ctx, root, pair)
	}
	if err != nil || c == nil {
		return err
	}
	return h.shiftVolumes(ctx, c, pair, state.Bundle, state.ID)
}

// checkUnmapped fails if a container without a user namespace has requested one: it would run as
// the host's root.
func (h *Hook) checkUnmapped(c *oci.Config) error {
	if c == nil {
		return nil
	}
	pair, err := h.requestedMaps(c, keepOwn)
	if err == nil && isAuto(c) {
		err = fmt.Errorf("annotation %s requests a range, but the container has no user namespace",
			Annotation)
	} else if err == nil && !pair.IsZero() && c.Spec.Annotations[Annotation] != "" {
		err = fmt.Errorf("annotation %s requests %s, but the container has no user namespace",
			Annotation, pair)
	}
	return err
}

// findRoot returns the root file system on the host, the first of these that is not empty: Root,
// lcr's environment variable, the path in the configuration, the path in the state. crun's path may
// be relative to the bundle, and lcr's may be an empty directory.
func (h *Hook) findRoot(state *oci.State, c *oci.Config, configErr error) (string, error) {
	candidates := []string{h.Root, os.Getenv("LXC_ROOTFS_PATH")}
	if c != nil {
		candidates = append(candidates, c.RootPath(state.Bundle))
	}
	candidates = append(candidates, state.Root)
	if state.Root != "" && !filepath.IsAbs(state.Root) {
		candidates = append(candidates, filepath.Join(state.Bundle, state.Root))
	}
	var tried []string
	for _, dir := range candidates {
		if !filepath.IsAbs(dir) {
			continue
		}
		if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
			return filepath.EvalSymlinks(dir)
		}
		tried = append(tried, dir)
	}
	return "", errors.Join(fmt.Errorf("root file system not found; empty or absent: %q", tried),
		configErr)
}

func (h *Hook) withDeadline(
	ctx context.Context, c *oci.Config,
) (context.Context, context.CancelFunc) {
	deadline := h.Deadline
	if deadline == 0 && c != nil {
		if timeout := c.HookTimeout(h.Program); timeout > 0 {
			deadline = max(timeout-reserve, timeout/2)
		}
	}
	if deadline == 0 && os.Getenv("LXC_NAME") != "" {
		deadline = lcrTimeout - reserve
	}
	if deadline == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, deadline)
}

// switchRoot makes an idmapped mount of the root file system and its submounts over the one that
// the runtime has prepared in the container's mount namespace, before that becomes the root. It has
// no effect with runtimes that have opened the root before, such as runc from 1.5 on.
func (h *Hook) switchRoot(ctx context.Context, process sys.File, root string) error {
	private, err := idmount.OpenPrivate(root, h.checkLinks(ctx)) // as the host sees it
	if _, ok := errors.AsType[*idmount.ReachableError](err); ok {
		// Without the wrapper, the runtime has entered the user namespace, and cannot search a
		// closed directory.
		return fmt.Errorf("%w, and start the container with the runtime wrapper", err)
	}
	if err != nil {
		return err
	}
	defer private.Close()
	ns, err := process.OpenAt("ns/mnt")
	if err != nil {
		return err
	}
	defer ns.Close()
	userNS, err := process.OpenAt("ns/user")
	if err != nil {
		return err
	}
	defer userNS.Close()
	return sys.InMountNamespace(ns, func(*sys.NamespaceThread) error {
		return private.MapOver(root, userNS)
	})
}
