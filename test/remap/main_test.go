//go:build integration

// Package remap tests userns-shift with real runtimes and engines, as root, in its own namespaces.
package remap

import (
	"context"
	"encoding/json"
	"fmt"
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

	"palisade/test/ctr"
	"palisade/test/engine"
)

// shared holds the resources of all tests.
var shared struct{ dir, shift, toolkit, lxcfs, evil, busybox string }

func TestMain(m *testing.M) {
	suite := ctr.Suite{Name: "remap", Programs: []string{"busybox"}, Setup: setUp}
	suite.Run(m)
}

func setUp(ctx context.Context, dir string) (cleanup func() error, err error) {
	shared.dir = dir
	for _, p := range []struct {
		path      *string
		name, pkg string
	}{
		{&shared.shift, "userns_shift", "palisade/cmd/userns-shift"},
		{&shared.toolkit, "toolkit", "palisade/cmd/lxcfs-toolkit"},
		{&shared.lxcfs, "lxcfs", "palisade/cmd/lxcfs"},
		{&shared.evil, "evil", "palisade/test/remap/evil"},
	} {
		if *p.path, err = ctr.Program(ctx, dir, p.name, p.pkg); err != nil {
			return nil, err
		}
	}
	shared.busybox, err = exec.LookPath("busybox")
	return nil, err
}

// remap100000 is the map of most tests, firstID the host's id of a container's root in it.
const (
	remap100000 = "100000:100000:65535"
	firstID     = 100000
)

// applets are the programs of a root file system.
var applets = []string{"sh", "id", "cat", "ls", "stat", "touch", "mount", "sleep", "head", "grep",
	"ps", "mkdir", "cp", "chmod", "rm", "mv"}

// newRootfs creates a root file system that belongs to root, with a set-id program and without
// mount points.
func newRootfs(t *testing.T, dir string) {
	t.Helper()
	for _, sub := range []string{"bin", "etc", "root"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(shared.busybox)
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "bin/busybox")
	if err := os.WriteFile(program, text, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(program, 0o4755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	for _, applet := range applets {
		if err := os.Symlink("busybox", filepath.Join(dir, "bin", applet)); err != nil {
			t.Fatal(err)
		}
	}
}

// addMountPoints creates the mount points of runtimes.
func addMountPoints(t *testing.T, rootfs string) {
	t.Helper()
	for _, dir := range []string{"proc", "dev", "sys"} {
		if err := os.Mkdir(filepath.Join(rootfs, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// openDir returns a directory that all users can reach.
func openDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// bundle is the bundle of a container.
type bundle struct{ dir, rootfs, id string }

// newBundle creates a bundle with a root file system and an init that runs a script. edit, unless
// it is nil, changes the configuration.
func newBundle(t *testing.T, script string, edit func(*specs.Spec)) *bundle {
	t.Helper()
	b := &bundle{dir: openDir(t), id: fmt.Sprintf("palisade-remap-%d", time.Now().UnixNano())}
	b.rootfs = filepath.Join(b.dir, "rootfs")
	newRootfs(t, b.rootfs)
	if r := engine.Run(t, "", "runc", "spec", "--bundle", b.dir); r.Code != 0 {
		t.Fatal(r.Stderr)
	}
	b.edit(t, func(s *specs.Spec) {
		s.Root.Readonly = false
		s.Process.Terminal, s.Process.Args = false, []string{"/bin/sh", "-c", script}
		s.Linux.CgroupsPath = "/" + b.id
		if edit != nil {
			edit(s)
		}
	})
	t.Cleanup(func() {
		exec.Command("runc", "delete", "--force", b.id).Run() // may not exist
		exec.Command("crun", "delete", "--force", b.id).Run()
		b.unmount(t)
	})
	return b
}

func (b *bundle) config() string { return filepath.Join(b.dir, "config.json") }

func (b *bundle) spec(t *testing.T) *specs.Spec {
	t.Helper()
	text, err := os.ReadFile(b.config())
	if err != nil {
		t.Fatal(err)
	}
	s := new(specs.Spec)
	if err := json.Unmarshal(text, s); err != nil {
		t.Fatal(err)
	}
	return s
}

func (b *bundle) edit(t *testing.T, edit func(*specs.Spec)) {
	t.Helper()
	s := b.spec(t)
	edit(s)
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(b.config(), text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// runDir is the wrapper's directory for mounts, in the tests' own /run.
const runDir = "/run/userns-shift-roots"

// unmount checks that the wrapper's mount for the container is gone.
func (b *bundle) unmount(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if point := strings.Fields(line)[1]; strings.HasPrefix(point, filepath.Join(runDir, b.id)) {
			t.Errorf("%s is still mounted", point)
			if err := syscall.Unmount(point, syscall.MNT_DETACH); err != nil {
				t.Error(err)
			}
		}
	}
}

// withUserNamespace adds a user namespace to a configuration.
func withUserNamespace(s *specs.Spec) {
	ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: firstID, Size: 65535}}
	s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	s.Linux.UIDMappings, s.Linux.GIDMappings = ids, ids
}

// forEachRuntime runs a test with all runtimes.
func forEachRuntime(t *testing.T, test func(t *testing.T, runtime string)) {
	for _, name := range []string{"runc", "crun"} {
		t.Run(name, func(t *testing.T) { test(t, name) })
	}
}

// runRuntime runs a runtime without the wrapper.
func runRuntime(t *testing.T, name string, args ...string) engine.Ran {
	t.Helper()
	line := ctr.CommandLine(name, append([]string{name}, args...)...)
	return engine.Run(t, "", line[0], line[1:]...)
}

// wrapped runs the wrapper with options and the runtime's arguments.
func wrapped(t *testing.T, name string, options []string, args ...string) engine.Ran {
	t.Helper()
	line := wrappedLine(name, options, args...)
	return engine.Run(t, "", line[0], line[1:]...)
}

// wrappedLine returns the command line of wrapped.
func wrappedLine(name string, options []string, args ...string) []string {
	program := []string{shared.shift, "runtime", "--runtime", name}
	line := slices.Concat(program, options, []string{"--"}, args)
	return ctr.CommandLine(name, line...)
}

func shift(t *testing.T, args ...string) engine.Ran {
	t.Helper()
	return engine.Run(t, "", shared.shift, args...)
}

// must runs userns-shift, which must succeed.
func must(t *testing.T, args ...string) engine.Ran {
	t.Helper()
	r := shift(t, args...)
	if r.Code != 0 {
		t.Fatalf("userns-shift %q: %+v", args, r)
	}
	return r
}

// owner returns the uid of a file on the disk.
func owner(t *testing.T, path string) int {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	return int(st.Uid)
}

// checkOwners checks that all files of a tree have the uid, and that the program has its set-id
// bit.
func checkOwners(t *testing.T, root string, uid int) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if err == nil && owner(t, path) != uid {
			t.Errorf("%s belongs to %d, want %d", path, owner(t, path), uid)
			return filepath.SkipAll
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(filepath.Join(root, "bin/busybox")); err != nil ||
		info.Mode()&os.ModeSetuid == 0 {
		t.Errorf("bin/busybox has lost its set-id bit: %v %v", info, err)
	}
}

// uidOf returns the uid of a process on the host.
func uidOf(t *testing.T, pid int) string {
	t.Helper()
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "Uid:"); ok {
			return strings.Fields(rest)[0]
		}
	}
	return ""
}

// engineRun runs a program and returns its output. Any goroutine may call it.
func engineRun(program string, args ...string) string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%v: %s", err, out)
	}
	return string(out)
}

// setState writes the recorded state of a tree.
func setState(t *testing.T, root, state string) {
	t.Helper()
	if err := syscall.Setxattr(root, "trusted.userns_shift", []byte(state), 0); err != nil {
		t.Fatal(err)
	}
}

// startLxcfs starts an lxcfs until the test ends, and returns its mount point.
func startLxcfs(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(openDir(t), "lxc")
	return ctr.NewDaemon(t, shared.lxcfs, dir).Mountpoint
}
