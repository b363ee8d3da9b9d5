//go:build integration

package remap

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/test/ctr"
	"palisade/test/engine"
)

// listed is a range in the registry.
type listed struct {
	First, Size      uint32
	Kind, Owner, Use string
}

// rangesOf returns the ranges in the registry by their owners, of which each must have one.
func rangesOf(t *testing.T) map[string]listed {
	t.Helper()
	var list []listed
	if err := json.Unmarshal([]byte(must(t, "ranges", "list", "--json").Stdout), &list); err != nil {
		t.Fatal(err)
	}
	owners := make(map[string]listed)
	for _, l := range list {
		if other, ok := owners[l.Owner]; ok {
			t.Errorf("%s has two ranges: %+v and %+v", l.Owner, other, l)
		}
		owners[l.Owner] = l
	}
	return owners
}

// recordDir has the records of containers with ranges, in the tests' own /run.
const recordDir = "/run/userns-shift/containers"

// autoOutput is the output of inspectScript in a container with the range that begins with first.
func autoOutput(first uint32, size int) string {
	return fmt.Sprintf("0\n%10d %10d %10d\n0\n0\n0\n", 0, first, size)
}

// firstIn returns the host's first id in the output of inspectScript.
func firstIn(t *testing.T, r engine.Ran) (first uint32) {
	t.Helper()
	if r.Code != 0 || strings.Count(r.Stdout, "\n") != 5 || r.Stderr != "" {
		t.Fatalf("%+v", r)
	}
	_, err := fmt.Sscanf(strings.Split(r.Stdout, "\n")[1], "%d %d", new(int), &first)
	if err != nil {
		t.Fatal(err)
	}
	return first
}

// TestAuto checks ranges of containers with runc and crun: an idmapped tree leaves none, a shifted
// one keeps it, and so does a failed start.
func TestAuto(t *testing.T) {
	forEachRuntime(t, func(t *testing.T, runtime string) {
		engine.OwnLib(t)
		run := func(b *bundle, options ...string) engine.Ran {
			return wrapped(t, runtime, options, "run", "--bundle", b.dir, b.id)
		}
		mapped := newBundle(t, inspectScript, nil)
		closeDir(t, mapped.dir)
		var before uint32
		for range 2 { // the second time with a configuration that the wrapper has changed
			first := firstIn(t, run(mapped, "--user-remap", "auto"))
			if before != 0 && first != before {
				t.Errorf("got range %d, then %d", before, first)
			}
			before = first
			if left := rangesOf(t); len(left) != 0 {
				t.Errorf("left: %+v", left)
			}
			if left, err := os.ReadDir(runDir); err != nil || len(left) != 0 {
				t.Errorf("left in %s: %v %v", runDir, left, err)
			}
		}
		// The range of another container is not reused, though the configuration has it.
		must(t, "ranges", "reserve", "other", "--first", fmt.Sprint(before))
		if first := firstIn(t, run(mapped, "--user-remap", "auto")); first == before {
			t.Errorf("got range %d, which is reserved", first)
		}

		shifted := newBundle(t, inspectScript, func(s *specs.Spec) {
			s.Annotations = map[string]string{"palisade.user-remap": "auto:65535"}
		})
		first := firstIn(t, run(shifted))
		for range 2 {
			if r := run(shifted); r.Stdout != autoOutput(first, 65535) {
				t.Errorf("%+v, want range %d", r, first)
			}
			tree := rangesOf(t)[shifted.rootfs]
			if tree.First != first || tree.Size != 65535 || tree.Kind != "tree" || tree.Use != "used" {
				t.Errorf("got %+v, want range %d", tree, first)
			}
			checkOwners(t, shifted.rootfs, int(first))
		}

		failing := newBundle(t, inspectScript, func(s *specs.Spec) { s.Process.User.UID = 70000 })
		want := "uid 70000 of the container's process is not mapped"
		if r := run(failing, "--user-remap", "auto"); r.Code != 1 || !strings.Contains(r.Stderr, want) {
			t.Errorf("%+v", r)
		}
		linked := newBundle(t, inspectScript, nil)
		if err := os.Link(linked.rootfs+"/bin/busybox", linked.dir+"/busybox"); err != nil {
			t.Fatal(err)
		}
		if r := run(linked, "--user-remap", "auto"); r.Code != 1 ||
			!strings.Contains(r.Stderr, "bin/busybox") {
			t.Errorf("%+v", r)
		}
		if left := rangesOf(t); len(left) != 2 {
			t.Errorf("failed starts leave ranges: %+v", left)
		}
		if err := os.RemoveAll(shifted.rootfs); err != nil {
			t.Fatal(err)
		}
		must(t, "ranges", "free", "--unused")
		if left := rangesOf(t); len(left) != 1 || left["other"].Kind != "reserved" {
			t.Errorf("after the tree was deleted: %+v", left)
		}
	})
}

// TestAutoVolumes starts a container with a range twice, whose volumes are shifted to that: the range
// stays the container's, or the root file system's.
func TestAutoVolumes(t *testing.T) {
	for _, mode := range []string{"idmap", "shift"} {
		t.Run(mode, func(t *testing.T) {
			engine.OwnLib(t)
			dir := openDir(t)
			b := newBundle(t, "stat -c %u /data/secret /more/secret",
				withMounts(bind(newVolume(t, dir), "/data"), bind(newVolume(t, dir), "/more")))
			closeDir(t, b.dir)
			options := []string{"--user-remap", "auto", "--mode", mode, "--volumes", "shift"}
			for range 2 {
				wantRan(t, wrapped(t, "runc", options, "run", "--bundle", b.dir, b.id), "0\n0\n")
				must(t, "ranges", "free", "--unused")
			}
			for owner, l := range rangesOf(t) {
				if mode != "shift" || owner != b.rootfs {
					t.Errorf("%s has %+v", owner, l)
				}
			}
		})
	}
}

// TestAutoSteps checks the range of a container between create and delete, and that the range of a
// container whose runtime was killed is freed, but not while it has a process.
func TestAutoSteps(t *testing.T) {
	engine.OwnLib(t)
	start := func() *bundle {
		t.Helper()
		b := newBundle(t, "sleep 1000", nil)
		closeDir(t, b.dir)
		cmd := exec.Command(shared.shift, "runtime", "--user-remap", "auto", "--", "create", "--bundle",
			b.dir, b.id)
		log, err := os.Create(filepath.Join(b.dir, "log")) // a pipe would stay open
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Run(); err != nil {
			text, _ := os.ReadFile(log.Name()) // only for the message
			t.Fatalf("create: %v: %s", err, text)
		}
		if r := wrapped(t, "runc", nil, "start", b.id); r.Code != 0 {
			t.Fatalf("start: %+v", r)
		}
		return b
	}
	web, lost := start(), start()
	owners := rangesOf(t)
	if owners[web.id].First == owners[lost.id].First || owners[web.id].Kind != "container" {
		t.Errorf("two containers: %+v", owners)
	}
	var state specs.State
	if err := json.Unmarshal([]byte(wrapped(t, "runc", nil, "state", web.id).Stdout),
		&state); err != nil {
		t.Fatal(err)
	}
	if uid := uidOf(t, state.Pid); uid != fmt.Sprint(owners[web.id].First) {
		t.Errorf("got uid %s of the init, want %d", uid, owners[web.id].First)
	}
	if r := wrapped(t, "runc", nil, "delete", "--force", web.id); r.Code != 0 {
		t.Errorf("delete: %+v", r)
	}
	if _, ok := rangesOf(t)[web.id]; ok {
		t.Error("a deleted container has a range")
	}
	// Without the wrapper and its hook, as after a crash.
	if files, err := os.ReadDir(filepath.Join(recordDir, lost.id)); err != nil || len(files) != 1 {
		t.Fatalf("records %v, %v", files, err)
	}
	if err := os.RemoveAll(filepath.Join(recordDir, lost.id)); err != nil {
		t.Fatal(err)
	}
	must(t, "ranges", "free", "--unused")
	if now := rangesOf(t)[lost.id]; now.Use != "used" {
		t.Errorf("with a process: %+v", now)
	}
	if r := shift(t, "ranges", "free", fmt.Sprint(owners[lost.id].First)); r.Code != 1 ||
		!strings.Contains(r.Stderr, "is not free: uid_map of process") {
		t.Errorf("free with a process: %+v", r)
	}
	if r := runRuntime(t, "runc", "delete", "--force", lost.id); r.Code != 0 {
		t.Errorf("delete: %+v", r)
	}
	must(t, "ranges", "free", "--unused")
	if _, ok := rangesOf(t)[lost.id]; ok {
		t.Error("the range is left")
	}
}

// TestAutoMany starts containers at once, idmapped ones of one tree and shifted ones, and checks that
// each has a range of its own. The runtime is a program that does nothing.
func TestAutoMany(t *testing.T) {
	engine.OwnLib(t)
	count := ctr.Repeat(100, 1000)
	config, err := os.ReadFile(newBundle(t, "", nil).config())
	if err != nil {
		t.Fatal(err)
	}
	const common = "/var/lib/bundles/closed/rootfs"
	if err := os.MkdirAll(common, 0o755); err != nil {
		t.Fatal(err)
	}
	closeDir(t, filepath.Dir(common))
	var group sync.WaitGroup
	for n := range count {
		dir, root, mode := fmt.Sprintf("/var/lib/bundles/%d", n), common, "idmap"
		if n%2 == 0 {
			root, mode = dir+"/rootfs", "shift"
		}
		for _, d := range []string{dir, root} {
			if err := os.MkdirAll(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		var spec map[string]any
		if err := json.Unmarshal(config, &spec); err != nil {
			t.Fatal(err)
		}
		spec["root"] = map[string]any{"path": root}
		text, err := json.Marshal(spec)
		if err == nil {
			err = os.WriteFile(dir+"/config.json", text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		group.Go(func() {
			cmd := exec.Command(shared.shift, "runtime", "--runtime", "/bin/true", "--user-remap", "auto",
				"--mode", mode, "--", "create", "--bundle", dir, fmt.Sprintf("many-%d", n))
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%d: %v: %s", n, err, out)
			}
		})
	}
	group.Wait()
	owners := rangesOf(t)
	firsts := make(map[uint32]bool)
	for _, l := range owners {
		firsts[l.First] = true
	}
	if len(owners) != count || len(firsts) != count {
		t.Errorf("%d owners, %d ranges, want %d", len(owners), len(firsts), count)
	}
	for n := range count {
		group.Go(func() {
			id := fmt.Sprintf("many-%d", n)
			if out := engineRun(shared.shift, "runtime", "--runtime", "/bin/true", "--", "delete",
				id); out != "" {
				t.Errorf("delete %s: %s", id, out)
			}
		})
	}
	group.Wait()
	if left := rangesOf(t); len(left) != count/2 {
		t.Errorf("%d ranges of %d shifted trees", len(left), count/2)
	}
	for _, dir := range []string{runDir, recordDir} {
		if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
			t.Errorf("left in %s: %v %v", dir, left, err)
		}
	}
}

// TestAutoHook checks that a hook leaves the maps to the runtime that has made the user namespace,
// and refuses a container without one.
func TestAutoHook(t *testing.T) {
	engine.OwnLib(t)
	annotate := func(s *specs.Spec) {
		s.Annotations = map[string]string{"palisade.user-remap": "auto"}
	}
	b := newBundle(t, inspectScript, func(s *specs.Spec) {
		withHook("createRuntime")(s)
		annotate(s)
	})
	addMountPoints(t, b.rootfs)
	if r := runRuntime(t, "runc", "run", "--bundle", b.dir, b.id); r.Code != 0 ||
		r.Stdout != inspectOutput {
		t.Errorf("%+v", r)
	}
	b.edit(t, func(s *specs.Spec) {
		hooks := s.Hooks
		s.Linux.UIDMappings, s.Linux.GIDMappings, s.Hooks = nil, nil, hooks
		s.Linux.Namespaces = s.Linux.Namespaces[:len(s.Linux.Namespaces)-1]
	})
	if r := runRuntime(t, "runc", "run", "--bundle", b.dir, b.id); r.Code == 0 ||
		!strings.Contains(r.Stderr, "requests a range, but the container has no user namespace") {
		t.Errorf("without a user namespace: %+v", r)
	}
	if left := rangesOf(t); len(left) != 0 {
		t.Errorf("left: %+v", left)
	}
}

// TestHookRootZero checks the hook for a container whose runtime has made a user namespace although
// the uid of the remap is 0, as iSulad 2.1.6 does.
func TestHookRootZero(t *testing.T) {
	engine.OwnLib(t)
	b := newBundle(t, "", func(s *specs.Spec) {
		s.Annotations = map[string]string{"palisade.user-remap": "0:100000:65535"}
	})
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{Size: 65535}},
		GidMappings: []syscall.SysProcIDMap{{HostID: firstID, Size: 65535}}}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Kill()
		cmd.Wait() // reports the signal
	}()
	state, err := json.Marshal(specs.State{Version: "1.0.0", ID: b.id, Pid: cmd.Process.Pid,
		Status: specs.StateCreating, Bundle: b.dir})
	if err != nil {
		t.Fatal(err)
	}
	r := engine.Run(t, string(state), shared.shift, "hook")
	if r.Code != 0 || !strings.Contains(r.Stderr, "root is uid or gid 0 of the host") {
		t.Errorf("%+v", r)
	}
	var st syscall.Stat_t
	if err := syscall.Stat(b.rootfs+"/bin", &st); err != nil || st.Uid != 0 || st.Gid != firstID {
		t.Errorf("owner %d:%d, %v, want 0:%d", st.Uid, st.Gid, err, firstID)
	}
}
