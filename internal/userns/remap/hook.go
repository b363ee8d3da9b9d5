package remap

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"palisade/internal/idmap"
	"palisade/internal/oci"
	"palisade/internal/sys"
	"palisade/internal/userns/idmount"
)

// Stage is when a hook runs (runtime-spec, config.md, "POSIX-platform Hooks"; oci-hooks(5) for precreate).
type Stage string

// The stages.
const (
	// AutoStage is told by what is on stdin.
	AutoStage     Stage = "auto"
	Precreate     Stage = "precreate"
	Prestart      Stage = "prestart"
	CreateRuntime Stage = "createRuntime"
	PostStop      Stage = "poststop"
)

// Stages are all of them.
var Stages = []string{string(AutoStage), string(Precreate), string(Prestart), string(CreateRuntime), string(PostStop)}

const (
	// stdinTime is how long a runtime may take to tell the hook of the container, maxStdin how much.
	stdinTime = 5 * time.Second
	maxStdin  = 16 << 20
	// reserve is how much earlier than the runtime's own deadline a hook stops by itself, so that it can say why.
	reserve = 2 * time.Second
	// lcrDeadline is after what time lcr kills a hook that has no timeout.
	lcrDeadline = 30 * time.Second
)

// Hook is an OCI hook.
type Hook struct {
	*Remapper
	Stage Stage
	// Root is the root file system; empty to find it out.
	Root string
	// Deadline is when it stops by itself; 0 to find out what the runtime allows.
	Deadline time.Duration
	// Program is the hook's own path, by which it finds its timeout in the container's configuration.
	Program string
}

// Run does the hook's work: it reads from stdin what a runtime tells of the container, and writes to stdout what an engine wants
// to hear.
func (h *Hook) Run(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
	text, err := readObject(ctx, stdin)
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
		return h.PostStop(state)
	}
	if err := h.starting(ctx, &state); err != nil {
		return fmt.Errorf("container %s: %w", state.ID, err)
	}
	return nil
}

// readObject reads one JSON object. It does not wait for the end of the input, which not every runtime closes.
func readObject(ctx context.Context, r io.Reader) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, stdinTime)
	defer cancel()
	type result struct {
		text json.RawMessage
		err  error
	}
	done := make(chan result, 1)
	go func() {
		var got result
		limited := &io.LimitedReader{R: r, N: maxStdin}
		switch got.err = json.NewDecoder(limited).Decode(&got.text); {
		case errors.Is(got.err, io.EOF):
			got.err = errors.New("there is nothing on stdin: an OCI runtime or an engine is to call this")
		case got.err != nil && limited.N == 0:
			got.err = fmt.Errorf("what is on stdin is larger than %d bytes", maxStdin)
		case got.err != nil:
			got.err = fmt.Errorf("what is on stdin is not understood: %w", got.err)
		}
		done <- got
	}()
	select {
	case got := <-done:
		return got.text, got.err
	case <-ctx.Done():
		return nil, fmt.Errorf("nothing came on stdin: %w", ctx.Err())
	}
}

// guessStage tells a configuration, which a precreate hook gets, from a state, which has an id.
func guessStage(text []byte) Stage {
	var known struct {
		ID      *json.RawMessage `json:"id"`
		Process *json.RawMessage `json:"process"`
	}
	if err := json.Unmarshal(text, &known); err == nil && known.ID == nil && known.Process != nil {
		return Precreate
	}
	return Prestart
}

// precreate gives the container of a configuration its user namespace and a root file system that fits, and writes the
// configuration as it is to be.
func (h *Hook) precreate(ctx context.Context, text []byte, stdout io.Writer) error {
	c, err := oci.ParseConfig(text)
	if err != nil {
		return fmt.Errorf("the configuration on stdin is not understood: %w", err)
	}
	h.obey(c)
	pair, err := h.wanted(c)
	if err != nil {
		return err
	}
	if !pair.IsZero() {
		ctx, cancel := h.withDeadline(ctx, c)
		defer cancel()
		if err := h.precreateWith(ctx, c, pair); err != nil {
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

func (h *Hook) precreateWith(ctx context.Context, c *oci.Config, pair idmap.Pair) error {
	if err := h.adapt(c, pair); err != nil {
		return err
	}
	root := h.Root
	if root == "" {
		root = c.RootPath("")
	}
	if root == "" || !filepath.IsAbs(root) {
		return fmt.Errorf("the root file system %q is not an absolute path", root)
	}
	if h.Mode == IDMap {
		return errors.New("a precreate hook does not know the container's id, by which its root file system were to be mounted; " +
			"take the runtime wrapper for --mode idmap")
	}
	return h.fit(ctx, root, pair)
}

// starting makes the root file system fit of a container that a runtime is starting.
func (h *Hook) starting(ctx context.Context, state *oci.State) error {
	own, err := os.Readlink("/proc/self")
	if err != nil || own != strconv.Itoa(os.Getpid()) || state.Pid <= 1 {
		return errors.New("the hook was started inside of the container, as createContainer and startContainer are: " +
			"it is to be a precreate, prestart or createRuntime hook")
	}
	process, err := sys.OpenDir("/proc/" + strconv.Itoa(state.Pid))
	if err != nil {
		return fmt.Errorf("its process %d is gone: %w", state.Pid, err)
	}
	defer process.Close()
	pair, err := oci.MapsOf(process)
	c, configErr := oci.ReadConfig(filepath.Join(state.Bundle, oci.ConfigFile))
	if errors.Is(err, oci.ErrNoUserNamespace) {
		return h.checkUnwanted(c)
	}
	if err != nil {
		return err
	}
	if c != nil {
		h.obey(c)
		if c.Spec.Annotations[Annotation] != "" {
			if _, err := h.wanted(c); err != nil {
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
		return h.switchRoot(ctx, process, root)
	}
	return h.fit(ctx, root, pair)
}

// checkUnwanted fails if a container without a user namespace was to have one: it would run as the host's root.
func (h *Hook) checkUnwanted(c *oci.Config) error {
	if c == nil {
		return nil
	}
	pair, err := h.wanted(c)
	if err == nil && !pair.IsZero() && c.Spec.Annotations[Annotation] != "" {
		err = fmt.Errorf("annotation %s asks for %s, but the container has no user namespace", Annotation, pair)
	}
	return err
}

// findRoot finds the root file system on the host: what it was told, lcr's environment, the bundle's configuration, or the state
// (crun's path may be relative to the bundle; lcr's may be an empty folder).
func (h *Hook) findRoot(state *oci.State, c *oci.Config, configErr error) (string, error) {
	candidates := []string{h.Root, os.Getenv("LXC_ROOTFS_PATH")}
	if c != nil {
		candidates = append(candidates, c.RootPath(state.Bundle))
	}
	if state.Root != "" {
		root := state.Root
		if !filepath.IsAbs(root) {
			root = filepath.Join(state.Bundle, root)
		}
		candidates = append(candidates, root)
	}
	var tried []string
	for _, dir := range candidates {
		if dir == "" || !filepath.IsAbs(dir) {
			continue
		}
		if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
			return filepath.EvalSymlinks(dir)
		}
		tried = append(tried, dir)
	}
	return "", errors.Join(fmt.Errorf("its root file system is not found; empty or absent: %q", tried), configErr)
}

// withDeadline ends ctx when the hook is to stop by itself.
func (h *Hook) withDeadline(ctx context.Context, c *oci.Config) (context.Context, context.CancelFunc) {
	deadline := h.Deadline
	if deadline == 0 && c != nil {
		if timeout := c.HookTimeout(h.Program); timeout > 0 {
			deadline = max(timeout-reserve, timeout/2)
		}
	}
	if deadline == 0 && os.Getenv("LXC_NAME") != "" {
		deadline = lcrDeadline - reserve
	}
	if deadline == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, deadline)
}

// switchRoot puts a mount with mapped ids over the root file system that the runtime has prepared in the container's mount
// namespace, with all that is mounted in it, before it becomes the root. Runtimes that hold the root open by then, as runc from
// 1.5 on, do not notice.
func (h *Hook) switchRoot(ctx context.Context, process sys.File, root string) error {
	private, err := idmount.OpenPrivate(root, h.checkLinks(ctx)) // as the host sees it
	var reachable *idmount.ReachableError
	if errors.As(err, &reachable) {
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
