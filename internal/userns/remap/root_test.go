package remap

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/internal/oci"
	"palisade/internal/oci/wrapper"
	"palisade/internal/userns/idmount"
	"palisade/internal/userns/shift"
)

const inNamespace = "PALISADE_TEST_NAMESPACE"

// TestMain runs the tests in a mount namespace of their own, if that is possible: without root,
// those that need it are skipped.
func TestMain(m *testing.M) {
	if os.Getuid() != 0 || os.Getenv(inNamespace) != "" {
		os.Exit(m.Run())
	}
	test := exec.Command("/proc/self/exe", os.Args[1:]...)
	test.Env = append(os.Environ(), inNamespace+"=1")
	test.Stdin, test.Stdout, test.Stderr = os.Stdin, os.Stdout, os.Stderr
	test.SysProcAttr = &syscall.SysProcAttr{ // exec makes the mounts private
		Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL,
	}
	err := test.Run()
	if _, hasRun := errors.AsType[*exec.ExitError](err); err == nil || hasRun {
		os.Exit(test.ProcessState.ExitCode())
	}
	os.Exit(m.Run()) // an emulator cannot execute its program again
}

const (
	testRemap = "100000:100000:65535"
	// firstID is the host's id of the container's root.
	firstID = 100000
)

// bundle is a bundle with a root file system, in a directory that only root can search.
type bundle struct{ dir, root string }

func newBundle(t *testing.T) bundle {
	t.Helper()
	if os.Getenv(inNamespace) == "" {
		t.Skip("needs root, in a mount namespace of its own")
	}
	base := t.TempDir()
	b := bundle{filepath.Join(base, "bundle"), filepath.Join(base, "bundle", "rootfs")}
	err := errors.Join(os.Chmod(base, 0o700), os.MkdirAll(filepath.Join(b.root, "proc"), 0o755),
		os.WriteFile(filepath.Join(b.root, "file"), nil, 0o644))
	if err != nil {
		t.Fatal(err)
	}
	b.configure(t, "")
	return b
}

// config returns the configuration of the bundle, with the annotation for a remap unless that is
// empty.
func (b bundle) config(t *testing.T, remap string) []byte {
	t.Helper()
	spec := specs.Spec{
		Version: specs.Version, Root: &specs.Root{Path: b.root}, Annotations: map[string]string{},
		Process: &specs.Process{Args: []string{"sh"}, Cwd: "/"},
		Linux:   &specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: specs.MountNamespace}}},
		Mounts: []specs.Mount{{Destination: "/proc"}, {Destination: "/proc/sys"},
			{Destination: "/missing"}},
	}
	if remap != "" {
		spec.Annotations[Annotation] = remap
	}
	text, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (b bundle) configure(t *testing.T, remap string) {
	t.Helper()
	path := filepath.Join(b.dir, oci.ConfigFile)
	if err := os.WriteFile(path, b.config(t, remap), 0o644); err != nil {
		t.Fatal(err)
	}
}

// ownerOf returns the owner of the file in a root file system.
func ownerOf(t *testing.T, root string) int {
	t.Helper()
	info, err := os.Lstat(filepath.Join(root, "file"))
	if err != nil {
		t.Fatal(err)
	}
	return int(info.Sys().(*syscall.Stat_t).Uid)
}

func newRemapper(t *testing.T, mode Mode) *Remapper {
	t.Helper()
	dir := t.TempDir()
	return &Remapper{Mode: mode, RunDir: filepath.Join(dir, "run"),
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Options: shift.Options{LockDir: filepath.Join(dir, "lock"),
			StateDir: filepath.Join(dir, "state")}}
}

// TestPrepare runs the commands of two containers with one bundle.
func TestPrepare(t *testing.T) {
	poststop := specs.Hook{Path: "/usr/bin/userns-shift"}
	for mode, onDisk := range map[Mode]int{Auto: 0, IDMap: 0, Shift: firstID} {
		t.Run(string(mode), func(t *testing.T) {
			b, r := newBundle(t), newRemapper(t, mode)
			prepare := func(args ...string) error {
				return r.Prepare(t.Context(), wrapper.ParseCommand(args), poststop)
			}
			if err := prepare("create", "--bundle", b.dir, "plain"); err != nil {
				t.Fatal(err)
			}
			if err := prepare("state", "plain"); err != nil {
				t.Fatal(err)
			}
			if owner := ownerOf(t, b.root); owner != 0 {
				t.Fatalf("without a remap, the owner is %d", owner)
			}
			b.configure(t, testRemap)
			for _, id := range []string{"first", "second"} {
				if err := prepare("create", "--bundle", b.dir, id); err != nil {
					t.Fatal(err)
				}
				c, err := oci.ReadConfig(filepath.Join(b.dir, oci.ConfigFile))
				if err != nil {
					t.Fatal(err)
				}
				point := filepath.Join(r.RunDir, id, "rootfs")
				if c.Spec.Root.Path != point || len(c.Spec.Linux.UIDMappings) != 1 ||
					len(c.Spec.Hooks.Poststop) == 0 {
					t.Errorf("%s: %+v, %+v", id, c.Spec.Root, c.Spec.Hooks)
				}
				if owner := ownerOf(t, point); owner != firstID {
					t.Errorf("%s: the owner is %d", id, owner)
				}
				if owner := ownerOf(t, b.root); owner != onDisk {
					t.Errorf("%s: the owner on the disk is %d, want %d", id, owner, onDisk)
				}
				if mapped, err := idmount.IsMapped(point); err != nil || mapped != (onDisk == 0) {
					t.Errorf("%s: idmapped %v, %v", id, mapped, err)
				}
			}
			if err := prepare("delete", "first"); err != nil {
				t.Fatal(err)
			}
			if err := r.Unmount("second"); err != nil {
				t.Fatal(err)
			}
			if entries, err := os.ReadDir(r.RunDir); err != nil || len(entries) > 0 {
				t.Errorf("%v are left, %v", entries, err)
			}
		})
	}
}

// TestPrepareFails checks that a container that cannot have a user namespace gets no mount.
func TestPrepareFails(t *testing.T) {
	for name, tt := range map[string]struct{ remap, id, want string }{
		"invalid remap": {"x", "c", "user remap"},
		"invalid id":    {testRemap, "../c", "id"},
	} {
		b, r := newBundle(t), newRemapper(t, IDMap)
		b.configure(t, tt.remap)
		command := wrapper.ParseCommand([]string{"create", "--bundle", b.dir, tt.id})
		err := r.Prepare(t.Context(), command, specs.Hook{})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
		if entries, _ := os.ReadDir(r.RunDir); len(entries) > 0 {
			t.Errorf("%s: %v are left", name, entries)
		}
	}
	missing := wrapper.ParseCommand([]string{"create", "--bundle", "/none", "c"})
	if err := newRemapper(t, Auto).Prepare(t.Context(), missing, specs.Hook{}); err != nil {
		t.Errorf("no bundle: %v, want the runtime to report it", err)
	}
}

// TestRemoveStale checks that only old mounts are removed.
func TestRemoveStale(t *testing.T) {
	b, r := newBundle(t), newRemapper(t, Shift)
	pair := pairOf(t, testRemap)
	for _, id := range []string{"old", "new"} {
		m := &mounts{r: r, pair: pair, root: b.root}
		if _, err := m.mountRoot(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	old := time.Now().Add(-2 * staleAge)
	if err := os.Chtimes(filepath.Join(r.RunDir, "old"), old, old); err != nil {
		t.Fatal(err)
	}
	r.removeStale()
	entries, err := os.ReadDir(r.RunDir)
	if err != nil || len(entries) != 1 || entries[0].Name() != "new" {
		t.Errorf("%v are left, %v", entries, err)
	}
	if err := r.Unmount("new"); err != nil {
		t.Error(err)
	}
}

// TestPrecreate shifts the root file system of a configuration on stdin.
func TestPrecreate(t *testing.T) {
	b := newBundle(t)
	hook := Hook{Remapper: newRemapper(t, Auto), Stage: AutoStage}
	run := func(remap string) (*oci.Config, error) {
		var out bytes.Buffer
		if err := hook.Run(t.Context(), bytes.NewReader(b.config(t, remap)), &out); err != nil {
			return nil, err
		}
		return oci.ParseConfig(out.Bytes())
	}
	if c, err := run(""); err != nil || len(c.Spec.Linux.UIDMappings) > 0 || ownerOf(t, b.root) != 0 {
		t.Fatalf("without a remap: %+v, %v", c, err)
	}
	if c, err := run(testRemap); err != nil || c.Spec.Linux.UIDMappings[0].HostID != firstID {
		t.Fatalf("%+v, %v", c, err)
	}
	if owner := ownerOf(t, b.root); owner != firstID {
		t.Errorf("the owner is %d", owner)
	}
	hook.Mode = IDMap
	if _, err := run(testRemap); err == nil || !strings.Contains(err.Error(), "runtime wrapper") {
		t.Errorf("idmap: %v", err)
	}
	hook.Mode, hook.Root = Auto, "rootfs"
	if _, err := run(testRemap); err == nil || !strings.Contains(err.Error(), "absolute path") {
		t.Errorf("relative root: %v", err)
	}
}

// startProcess starts a process in namespaces as a runtime does, and returns its id.
func startProcess(t *testing.T, flags uintptr) int {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	ids := []syscall.SysProcIDMap{{HostID: firstID, Size: 65535}}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	if flags&syscall.CLONE_NEWUSER != 0 {
		cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = ids, ids
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait() // returns the signal
	})
	return cmd.Process.Pid
}

// TestHookStart runs the hook for a container with a user namespace, in each mode.
func TestHookStart(t *testing.T) {
	b := newBundle(t)
	pid := startProcess(t, syscall.CLONE_NEWUSER|syscall.CLONE_NEWNS)
	run := func(mode Mode, r *Remapper, pid int) error {
		hook := Hook{Remapper: r, Stage: AutoStage}
		hook.Mode = mode
		state := fmt.Sprintf(`{"ociVersion":"1.0.2","id":"c","status":"creating","pid":%d,"bundle":%q}`,
			pid, b.dir)
		return hook.Run(t.Context(), strings.NewReader(state), io.Discard)
	}
	r := newRemapper(t, Shift)
	if err := run(Check, r, pid); err == nil || !strings.Contains(err.Error(), "not shifted to") {
		t.Errorf("check before: %v", err)
	}
	if err := run(IDMap, r, pid); err != nil {
		t.Errorf("idmap: %v", err)
	}
	inside := filepath.Join("/proc", strconv.Itoa(pid), "root", b.root)
	if owner := ownerOf(t, inside); owner != firstID || ownerOf(t, b.root) != 0 {
		t.Errorf("the owner in the mount namespace is %d, outside %d", owner, ownerOf(t, b.root))
	}
	if err := run(Shift, r, pid); err != nil {
		t.Fatal(err)
	}
	if owner := ownerOf(t, b.root); owner != firstID {
		t.Errorf("the owner is %d", owner)
	}
	if err := run(Check, r, pid); err != nil {
		t.Errorf("check afterwards: %v", err)
	}
	if err := run(Shift, r, 1); err == nil || !strings.Contains(err.Error(), "inside the container") {
		t.Errorf("process 1: %v", err)
	}
	plain := startProcess(t, 0)
	if err := run(Shift, r, plain); err != nil {
		t.Errorf("no user namespace, no remap: %v", err)
	}
	b.configure(t, testRemap)
	if err := run(Shift, r, plain); err == nil || !strings.Contains(err.Error(), "no user namespace") {
		t.Errorf("no user namespace: %v", err)
	}
}

func TestReadInput(t *testing.T) {
	read := func(ctx context.Context, r io.Reader) string {
		_, err := readInput(ctx, r)
		return fmt.Sprint(err)
	}
	for text, want := range map[string]string{
		"": "no hook state", "{": "parse hook state", "{} x": "<nil>", `{"id":"x"}`: "<nil>",
		`"` + strings.Repeat("x", maxStdin): "on stdin: larger than",
	} {
		if got := read(t.Context(), strings.NewReader(text)); !strings.Contains(got, want) {
			t.Errorf("%.20q: %s, want %s", text, got, want)
		}
	}
	r, w := io.Pipe()
	defer w.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if got := read(ctx, r); !strings.Contains(got, "deadline exceeded") {
		t.Errorf("nothing on stdin: %s", got)
	}
}

func TestDeadline(t *testing.T) {
	for _, tt := range []struct {
		name, config, lxcName string
		deadline              time.Duration
		want                  time.Duration // 0 for none
	}{
		{"none", `{}`, "", 0, 0},
		{"given", `{}`, "", time.Minute, time.Minute},
		{"of the hook", `{"hooks":{"prestart":[{"path":"/h","timeout":10}]}}`, "", 0, 8 * time.Second},
		{"short", `{"hooks":{"prestart":[{"path":"/h","timeout":2}]}}`, "", 0, time.Second},
		{"of another hook", `{"hooks":{"prestart":[{"path":"/x","timeout":2}]}}`, "", 0, 0},
		{"lcr", `{}`, "c", 0, lcrTimeout - reserve},
	} {
		t.Setenv("LXC_NAME", tt.lxcName)
		h := Hook{Deadline: tt.deadline, Program: "/h"}
		ctx, cancel := h.withDeadline(t.Context(), config(t, tt.config))
		at, ok := ctx.Deadline()
		cancel()
		left := time.Until(at)
		if ok != (tt.want > 0) || ok && (left > tt.want || left < tt.want-time.Second) {
			t.Errorf("%s: %v, %v, want %v", tt.name, left, ok, tt.want)
		}
	}
}

func TestMissingMountPoints(t *testing.T) {
	b, o := newBundle(t), newRemapper(t, Auto).Options
	pair := pairOf(t, testRemap)
	problems, err := MissingMountPoints(b.dir, b.root, pair, o)
	if err != nil || len(problems) != 1 ||
		problems[0].Text != "mount points that are missing: /missing" {
		t.Fatalf("%v, %v", problems, err)
	}
	if _, err := shift.Shift(t.Context(), b.root, pair, o); err != nil {
		t.Fatal(err)
	}
	if problems, err := MissingMountPoints(b.dir, b.root, pair, o); err != nil || problems != nil {
		t.Errorf("shifted: %v, %v", problems, err)
	}
}

func TestCheckUnshifted(t *testing.T) {
	b, o := newBundle(t), newRemapper(t, Auto).Options
	pair := pairOf(t, testRemap)
	if err := CheckUnshifted(b.root, pair, o); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(b.root, firstID, firstID); err != nil {
		t.Fatal(err)
	}
	err := CheckUnshifted(b.root, pair, o)
	if err == nil || !strings.Contains(err.Error(), "without a record") {
		t.Errorf("by its owner: %v", err)
	}
	r := newRemapper(t, Auto)
	if wants, err := r.wantsIDMap(b.root, pair); err != nil || wants {
		t.Errorf("auto wants an idmapped mount: %v, %v", wants, err)
	}
	r.Mode = IDMap
	if wants, err := r.wantsIDMap(b.root, pair); err == nil || wants {
		t.Errorf("idmap: %v, %v", wants, err)
	}
}

// TestAdaptFails covers containers that cannot have a user namespace.
func TestAdaptFails(t *testing.T) {
	const privileged = `{"linux":{},"process":{"capabilities":` +
		`{"bounding":["CAP_SYS_MODULE","CAP_SYS_RAWIO"]}}}`
	for text, want := range map[string]string{
		`{"linux":{"namespaces":[{"type":"user","path":"/n"}]}}`: "joins the user namespace /n",
		privileged: "is privileged",
		`{"linux":{},"process":{"user":{"uid":10}}}`:                              "uid 10 of the container's process",
		`{"linux":{},"process":{"user":{"gid":12}}}`:                              "gid 12 of",
		`{"linux":{},"process":{"user":{"uid":9,"gid":9,"additionalGids":[10]}}}`: "gid 10 of",
		`{"linux":{},"process":{"user":{"uid":9}}}`:                               "<nil>",
		`{"linux":{}}`: "<nil>",
	} {
		r := newRemapper(t, Auto)
		err := r.adapt(config(t, text), pairOf(t, "1000:1000:10"))
		if !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	noRoot := pairOf(t, "1000:1000:10")
	noRoot.UID[0].Container = 1
	err := newMappedIDs(noRoot).checkProcess(nil)
	if err == nil || !strings.Contains(err.Error(), "has no root") {
		t.Errorf("no root: %v", err)
	}
}

func TestMapFlags(t *testing.T) {
	pair := pairOf(t, "1000:2000:10")
	if got := mapFlags(pair); got != "--user-remap 1000:2000:10" {
		t.Error(got)
	}
	pair.UID = append(pair.UID, pair.UID[0])
	pair.UID[1].Container, pair.UID[1].Host = 50, 5000
	want := "--uidmap 0:1000:10 --uidmap 50:5000:10 --gidmap 0:2000:10"
	if got := mapFlags(pair); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
