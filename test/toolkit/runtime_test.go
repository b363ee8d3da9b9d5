//go:build integration

package toolkit

import (
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

// bundle creates a bundle, and returns its directory and an id for the container, which is removed
// after the test.
func (h *host) bundle(t *testing.T, script string) (dir, id string) {
	t.Helper()
	dir, id = t.TempDir(), fmt.Sprintf("palisade-runtime-%d", time.Now().UnixNano())
	config := exec.Command("runc", "spec", "--bundle", dir)
	if out, err := config.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	h.editConfig(t, dir, func(s *specs.Spec) {
		s.Root = &specs.Root{Path: shared.rootfs, Readonly: true}
		s.Process.Terminal, s.Process.Args = false, []string{"/bin/sh", "-c", script}
		s.Linux.CgroupsPath = "/" + id
	})
	t.Cleanup(func() {
		exec.Command("runc", "delete", "--force", id).Run() // may not exist
	})
	return dir, id
}

func (h *host) editConfig(t *testing.T, dir string, edit func(*specs.Spec)) {
	t.Helper()
	file := filepath.Join(dir, "config.json")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var s specs.Spec
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	edit(&s)
	if text, err = json.Marshal(&s); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestRuntime checks that containers that the wrapper starts have the files of lxcfs, and that the
// wrapper otherwise behaves as the runtime.
func TestRuntime(t *testing.T) {
	h := newHost(t)
	h.start(t)
	wrapper := func(options ...string) []string {
		return append(h.args(append([]string{"runtime"}, options...)...), "--")
	}

	dir, id := h.bundle(t, "head -n 1 /proc/meminfo; wc -l </proc/partitions; mount | grep -c lxcfs; exit 7")
	r := engine.Run(t, "", shared.toolkit, append(wrapper("--annotation", "a=b"), "run", "--bundle", dir, id)...)
	want := fmt.Sprintf("MemTotal: %14d kB\n3\n%d\n", hostMemory(t)/1024, len(h.served(t)))
	if r.Code != 7 || r.Stdout != want || r.Stderr != "" {
		t.Errorf("run: %+v, want exit code 7 and %q", r, want)
	}
	h.editConfig(t, dir, func(s *specs.Spec) {
		if s.Annotations["a"] != "b" || len(s.Hooks.CreateRuntime) != 1 {
			t.Errorf("config.json has annotations %q and hooks %+v", s.Annotations, s.Hooks)
		}
	})
	// Again, and by the wrapper's other name: there is still one hook.
	link := filepath.Join(t.TempDir(), "lxcfs-runc")
	if err := os.Symlink(shared.toolkit, link); err != nil {
		t.Fatal(err)
	}
	r = engine.Run(t, "", shared.toolkit, append(wrapper(), "run", "-b", dir, id)...)
	if r.Code != 7 || r.Stdout != want {
		t.Errorf("run again: %+v", r)
	}
	if r := engine.Run(t, "", link, "--version"); r.Code != 0 || !strings.HasPrefix(r.Stdout, "runc version") {
		t.Errorf("--version: %+v", r)
	}
	if r, direct := engine.Run(t, "", link, "state", "nobody"), engine.Run(t, "", "runc", "state", "nobody"); r.Undated() != direct.Undated() {
		t.Errorf("state of an unknown container: %+v, want runc's %+v", r, direct)
	}

	dir, id = h.bundle(t, "trap 'exit 9' TERM; echo ready; while :; do sleep 0.1; done")
	cmd := exec.Command(shared.toolkit, append(wrapper(), "run", "--bundle", dir, id)...)
	ctr.StartReady(t, cmd)
	cmd.Process.Signal(syscall.SIGTERM)
	if cmd.Wait(); cmd.ProcessState.ExitCode() != 9 {
		t.Errorf("after SIGTERM: %v", cmd.ProcessState)
	}
}

// TestRuntimeMistakes checks the wrapper's errors.
func TestRuntimeMistakes(t *testing.T) {
	h := newHost(t)
	file := func(name, text string) string {
		path := filepath.Join(h.dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	writable := file("hook", "#!/bin/sh\n")
	if err := os.Chmod(writable, 0o777); err != nil {
		t.Fatal(err)
	}
	self := filepath.Join(h.dir, "self")
	if err := os.Symlink(shared.toolkit, self); err != nil {
		t.Fatal(err)
	}
	spec := file("spec.json", `{"prestart":[{"path":"`+writable+`"}]}`)
	dir, id := h.bundle(t, "echo runs")
	run := []string{"--", "run", "--bundle", dir, id}
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{append([]string{"--runtime", "/no/such/runtime"}, run...), 2, `"/no/such/runtime"`},
		{append([]string{"--runtime", self}, run...), 2, "itself"},
		{append([]string{"--annotation", "x"}, run...), 2, `"x"`},
		{append([]string{"--strict", "--hook-spec", spec}, run...), 1, "writable by users other than root"},
		{append([]string{"--strict", "--hook-spec", "/no/such/spec"}, run...), 1, "/no/such/spec"},
		{append([]string{"--hook-spec", spec}, run...), 0, "writable by users other than root"},
	} {
		r := h.run(t, "", append([]string{"runtime"}, tt.args...)...)
		if r.Code != tt.code || !strings.Contains(r.Stderr, tt.want) || strings.Count(r.Stderr, "\n") != 1 ||
			(r.Stdout == "runs\n") != (tt.code == 0) {
			t.Errorf("%q: %+v, want exit code %d and %q", tt.args, r, tt.code, tt.want)
		}
	}
	h.editConfig(t, dir, func(s *specs.Spec) {
		if s.Hooks != nil {
			t.Errorf("config.json has hooks: %+v", s.Hooks)
		}
	})
	if r, direct := h.run(t, "", "runtime", "--", "run", "--bundle", h.dir, id), engine.Run(t, "", "runc", "run", "--bundle", h.dir, id); r.Undated() != direct.Undated() {
		t.Errorf("without a config.json: %+v, want runc's %+v", r, direct)
	}
}

// TestLcr checks the hook as iSulad's lcr calls it: a state without status, with the mounted root,
// non-blocking pipes and LXC's environment, and at poststop with the pid -1.
func TestLcr(t *testing.T) {
	h := newHost(t)
	h.start(t)
	c, err := ctr.StartStarting(shared.rootfs)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Stop()
	id := strings.Repeat("0123456789abcdef", 4)
	state := fmt.Sprintf(`{"ociVersion":"","id":%q,"pid":%d,"root":%q,"bundle":"/var/lib/isulad/engines/lcr/%s"}`, id, c.PID, c.Root, id)
	// The root's path in the environment suffices, too.
	for _, state := range []string{state, strings.Replace(state, `"root":"`+c.Root+`",`, "", 1)} {
		code, out := lcrHook(t, h, state, "LXC_ROOTFS_MOUNT="+c.Root, "LXC_ROOTFS_PATH="+c.Root, "LXC_PID="+strconv.Itoa(c.PID))
		if code != 0 || out != "" {
			t.Errorf("hook: exit code %d: %s", code, out)
		}
		// The process still sees the host's mount.
		want := []string{h.mountpoint}
		for _, file := range h.served(t) {
			want = append(want, c.Root+file)
		}
		own := func() []string { // without other mounts of the host
			return slices.DeleteFunc(lxcfsMounts(t, strconv.Itoa(c.PID)), func(point string) bool {
				return point != h.mountpoint && !strings.HasPrefix(point, c.Root+"/")
			})
		}
		if got := own(); !slices.Equal(got, want) {
			t.Errorf("got mounts of lxcfs %q, want %q", got, want)
		}
		h.must(t, "umount", "--container-id", id)
		if got := own(); !slices.Equal(got, want[:1]) {
			t.Errorf("got mounts of lxcfs %q after umount, want %q", got, want[:1])
		}
	}
	if code, out := lcrHook(t, h, strings.Replace(state, fmt.Sprintf(`"pid":%d`, c.PID), `"pid":-1`, 1)); code != 0 || out != "" {
		t.Errorf("poststop: exit code %d: %s", code, out)
	}
	if code, out := lcrHook(t, h, "{}"); code != 1 || len(out) > 4096 || strings.Count(out, "\n") != 1 {
		t.Errorf("empty state: exit code %d: %s", code, out)
	}
}

// lcrHook runs the hook as lcr does, and returns its exit code and output.
func lcrHook(t *testing.T, h *host, state string, env ...string) (code int, output string) {
	t.Helper()
	return engine.RunAsLcr(t, shared.toolkit, append([]string{"lxcfs-toolkit"}, h.args("hook")...), state, append([]string{"PATH=/usr/bin:/bin"}, env...)...)
}
