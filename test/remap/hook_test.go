//go:build integration

package remap

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/test/ctr"
	"palisade/test/engine"
)

// withHook returns a function that adds a user namespace and the hook at a stage to a
// configuration.
func withHook(stage string, args ...string) func(*specs.Spec) {
	return func(s *specs.Spec) {
		withUserNamespace(s)
		hook := []specs.Hook{{Path: shared.shift,
			Args: append([]string{"userns-shift", "hook"}, args...)}}
		switch stage {
		case "prestart":
			//lint:ignore SA1019 deprecated, but the only one that iSulad supports
			s.Hooks = &specs.Hooks{Prestart: hook}
		case "createRuntime":
			s.Hooks = &specs.Hooks{CreateRuntime: hook}
		case "createContainer":
			s.Hooks = &specs.Hooks{CreateContainer: hook}
		}
	}
}

// TestHook checks containers with user namespaces whose root file systems belong to root.
func TestHook(t *testing.T) {
	forEachRuntime(t, func(t *testing.T, runtime string) {
		for _, tt := range []struct {
			name, stage string
			args        []string
			mountPoints bool
			nosuid      bool
			code        int
			want        string
			owner       int
		}{
			{"prestart", "prestart", nil, true, false, 0, inspectOutput, firstID},
			{"createRuntime", "createRuntime", nil, true, false, 0, inspectOutput, firstID},
			{"with mapped ids, in the container's namespace", "prestart", []string{"--mode", "idmap"}, true,
				true, 0, inspectOutput, 0},
			{"with mapped ids, open to others", "prestart", []string{"--mode", "idmap"}, true, false, 1,
				"chmod 0700 ", 0},
			{"mode check", "prestart", []string{"--mode", "check"}, true, false, 1,
				"not shifted to " + remap100000, 0},
			{"too late", "createContainer", nil, true, false, 1, "started inside the container", 0},
			{"without mount points", "prestart", nil, false, false, 1, "ermission denied", 0},
		} {
			t.Run(tt.name, func(t *testing.T) {
				b := newBundle(t, inspectScript, withHook(tt.stage, tt.args...))
				if tt.mountPoints {
					addMountPoints(t, b.rootfs)
				}
				if tt.nosuid { // the only protection that still lets the runtime search the directory
					mountFor(t, b.rootfs, b.rootfs, syscall.MS_BIND)
					remountFor(t, b.rootfs, syscall.MS_NOSUID)
				}
				for range 2 { // the second run changes nothing
					r := runRuntime(t, runtime, "run", "--bundle", b.dir, b.id)
					want := tt.want
					if runtime == "crun" && tt.mountPoints && tt.code != 0 {
						want = "error executing hook" // crun does not show the message of the hook
					}
					if (r.Code == 0) != (tt.code == 0) || !strings.Contains(r.Stdout+r.Stderr, want) {
						t.Errorf("%+v, want %q", r, want)
					}
				}
				checkOwners(t, b.rootfs, tt.owner)
			})
		}
	})
}

// TestCheckReportsMountPoints checks that check reports missing mount points, for which a hook runs
// too late.
func TestCheckReportsMountPoints(t *testing.T) {
	b := newBundle(t, inspectScript, withUserNamespace)
	r := shift(t, "check", "--bundle", b.dir, b.rootfs)
	if r.Code != 1 || !strings.Contains(r.Stdout, "mount points that are missing: /proc, /dev") {
		t.Errorf("%+v", r)
	}
	addMountPoints(t, b.rootfs)
	if r := shift(t, "check", "--bundle", b.dir, b.rootfs); r.Code != 0 {
		t.Errorf("with mount points: %+v", r)
	}
	must(t, "shift", "--bundle", b.dir, b.rootfs)
	if r := shift(t, "check", "--bundle", b.dir, b.rootfs); r.Code != 0 {
		t.Errorf("shifted: %+v", r)
	}
}

// TestHookDeadline checks that a hook without enough time stops before the runtime kills it, and
// that the wrapper resumes its work at the next start.
func TestHookDeadline(t *testing.T) {
	b := newBundle(t, inspectScript, withHook("createRuntime"))
	addMountPoints(t, b.rootfs)
	many := filepath.Join(b.rootfs, "many")
	for i := range 60 {
		dir := filepath.Join(many, strconv.Itoa(i))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for j := range 500 {
			if err := os.Symlink("x", filepath.Join(dir, strconv.Itoa(j))); err != nil {
				t.Fatal(err)
			}
		}
	}
	// Search for a deadline between the beginning and the end of the change.
	var r engine.Ran
	for deadline := 0.06; ; deadline *= 1.35 {
		if deadline > 30 {
			t.Fatalf("no deadline expires in the middle: %+v", r)
		}
		b.edit(t, func(s *specs.Spec) {
			s.Hooks.CreateRuntime[0].Args = []string{"userns-shift", "hook", "--jobs", "1", "--deadline",
				fmt.Sprint(deadline)}
		})
		r = runRuntime(t, "runc", "run", "--bundle", b.dir, b.id)
		if r.Code == 0 { // too late
			must(t, "unshift", b.rootfs)
			deadline /= 2
			continue
		}
		if !strings.Contains(r.Stderr, "interrupted") {
			t.Fatalf("%+v", r)
		}
		if !strings.Contains(r.Stderr, "before anything was changed") {
			break
		}
	}
	if !strings.Contains(r.Stderr, "userns-shift shift --user-remap "+remap100000+" "+b.rootfs) {
		t.Errorf("it does not say how to resume: %+v", r)
	}
	// Runtimes cannot open the closed tree, and do not call the hook. The wrapper runs before.
	if r := runRuntime(t, "runc", "run", "--bundle", b.dir, b.id); r.Code == 0 ||
		!strings.Contains(r.Stderr, "ermission denied") {
		t.Errorf("with the hook: %+v", r)
	}
	b.edit(t, func(s *specs.Spec) { s.Hooks = nil })
	r = wrapped(t, "runc", []string{"--user-remap", remap100000}, "run", "--bundle", b.dir, b.id)
	if r.Code != 0 || r.Stdout != inspectOutput {
		t.Errorf("with the wrapper: %+v", r)
	}
	checkOwners(t, b.rootfs, firstID)
	if r := must(t, "status", b.rootfs); r.Stdout != "shifted "+remap100000+"\n" {
		t.Errorf("status: %+v", r)
	}
}

// TestHalfShifted checks that a half-shifted root file system cannot be used, neither with another
// map nor without a hook.
func TestHalfShifted(t *testing.T) {
	b := newBundle(t, inspectScript, withUserNamespace)
	addMountPoints(t, b.rootfs)
	must(t, "shift", "--user-remap", remap100000, b.rootfs)
	// As after a kill.
	state := `{"version":1,"phase":"shifting","to-uids":"0:200000:65535",` +
		`"to-gids":"0:200000:65535","root":{"mode":493,"uid":0,"gid":0},"run":1}`
	setState(t, b.rootfs, state)
	if err := os.Chown(b.rootfs, 0, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(b.rootfs, 0o700); err != nil {
		t.Fatal(err)
	}
	forEachRuntime(t, func(t *testing.T, runtime string) {
		if r := runRuntime(t, runtime, "run", "--bundle", b.dir, b.id); r.Code == 0 ||
			!strings.Contains(r.Stderr, "ermission denied") {
			t.Errorf("without a hook: %+v", r)
		}
		for _, mode := range []string{"shift", "auto", "idmap"} {
			r := wrapped(t, runtime, []string{"--mode", mode, "--user-remap", remap100000}, "run",
				"--bundle", b.dir, b.id)
			if r.Code != 1 || !strings.Contains(r.Stderr, "to 200000:200000:65535") ||
				strings.Count(r.Stderr, "\n") != 1 {
				t.Errorf("with the wrapper, %s: %+v", mode, r)
			}
		}
	})
}

// startInit starts a waiting process in a user namespace, like a container's init when runtimes
// call hooks.
func startInit(t *testing.T) (pid int) {
	t.Helper()
	c, err := ctr.Start(t.Context(), openDir(t),
		ctr.Options{Rootfs: sharedRootfs(t), ReadOnly: true, UserOffset: firstID})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Remove(); err != nil {
			t.Error(err)
		}
	})
	return c.PID
}

// sharedRootfs returns a shifted root file system.
func sharedRootfs(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(openDir(t), "rootfs")
	newRootfs(t, dir)
	addMountPoints(t, dir)
	for _, sub := range []string{"tmp"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	must(t, "shift", "--user-remap", "100000:100000:65535", dir)
	return dir
}

// TestHookStdin checks the hook with the input of each runtime, and with invalid input.
func TestHookStdin(t *testing.T) {
	pid := startInit(t)
	id := strings.Repeat("0123456789abcdef", 4)
	for _, tt := range []struct {
		name, state string
		env         []string
		code        int
		want        string
	}{
		{"runc", `{"ociVersion":"1.0.2-dev","id":"ID","status":"creating","pid":PID,"bundle":"BUNDLE"}`,
			nil, 0, ""},
		{"crun, a relative root",
			`{"ociVersion":"1.0","id":"ID","pid":PID,"root":"rootfs","bundle":"BUNDLE","status":"created"}`,
			nil, 0, ""},
		{"podman, with annotations",
			`{"ociVersion":"1.0.2-dev","id":"ID","status":"creating","pid":PID,"bundle":"BUNDLE",` +
				`"annotations":{"io.container.manager":"libpod"}}`, nil, 0, ""},
		{"lcr", `{"ociVersion":"","id":"ID","pid":PID,"root":"/nowhere/mnt/rootfs","bundle":"/nowhere"}`,
			[]string{"LXC_ROOTFS_PATH=BUNDLE/rootfs", "LXC_NAME=ID", "LXC_PID=PID"}, 0, ""},
		{"lcr, only its root",
			`{"ociVersion":"","id":"ID","pid":PID,"root":"BUNDLE/rootfs","bundle":"/nowhere"}`,
			[]string{"LXC_NAME=ID"}, 0, ""},
		{"lcr's poststop", `{"ociVersion":"","id":"ID","pid":-1,"root":"/nowhere","bundle":"/nowhere"}`,
			[]string{"LXC_PID=PID"}, -1, ""},
		{"runc's poststop", `{"ociVersion":"1.0.2-dev","id":"ID","status":"stopped","bundle":"BUNDLE"}`,
			nil, -1, ""},
		{"nowhere", `{"ociVersion":"","id":"ID","pid":PID,"root":"/nowhere","bundle":"/nowhere"}`, nil, 1,
			"root file system not found"},
		{"gone", `{"id":"ID","pid":999999999,"bundle":"BUNDLE"}`, nil, 1, "process 999999999 is gone"},
		{"inside", `{"id":"ID","pid":1,"bundle":"BUNDLE"}`, nil, 1, "started inside the container"},
		{"no id", `{"pid":PID,"bundle":"BUNDLE"}`, nil, 1, "no container id"},
		{"path as id", `{"id":"../x","pid":PID,"bundle":"BUNDLE"}`, nil, 1,
			`"../x" is not a file name`},
		{"no JSON", "no JSON", nil, 1, "parse hook state"},
		{"a list", "[1]", nil, 1, "cannot unmarshal array"},
		{"nothing", "", nil, 1, "no hook state"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBundle(t, "", withUserNamespace)
			fill := strings.NewReplacer("PID", strconv.Itoa(pid), "BUNDLE", b.dir, "ID", id)
			var env []string
			for _, variable := range tt.env {
				key, value, _ := strings.Cut(variable, "=")
				env = append(env, key+"="+fill.Replace(value))
			}
			state := fill.Replace(tt.state)
			if strings.HasPrefix(tt.name, "lcr") {
				env = append(env, "PATH=/usr/bin:/bin")
			}
			code, out := engine.RunAsLcr(t, shared.shift, []string{"userns-shift", "hook"}, state, env...)
			if code != max(tt.code, 0) || !strings.Contains(out, tt.want) || (tt.code <= 0) != (out == "") ||
				len(out) > 4096 {
				t.Errorf("exit code %d: %s", code, out)
			}
			want := 0
			if tt.code == 0 {
				want = firstID
			}
			checkOwners(t, b.rootfs, want)
		})
	}
}

// TestHookLeavesAlone checks that the hook ignores containers without a user namespace, and fails
// if they have requested one.
func TestHookLeavesAlone(t *testing.T) {
	for _, tt := range []struct {
		annotation string
		code       int
	}{{"", 0}, {"0:0:65535", 0}, {remap100000, 1}} {
		b := newBundle(t, "id -u", func(s *specs.Spec) {
			s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{
				{Path: shared.shift, Args: []string{"userns-shift", "hook"}}}}
			if tt.annotation != "" {
				s.Annotations = map[string]string{"palisade.user-remap": tt.annotation}
			}
		})
		r := runRuntime(t, "runc", "run", "-b", b.dir, b.id)
		if (r.Code == 0) != (tt.code == 0) || tt.code != 0 &&
			!strings.Contains(r.Stderr, "the container has no user namespace") {
			t.Errorf("%q: %+v", tt.annotation, r)
		}
		checkOwners(t, b.rootfs, 0)
	}
}

// TestHookspec checks a container with the output of hook-spec for iSulad: userns-shift and
// lxcfs-toolkit in one list of prestart hooks.
func TestHookspec(t *testing.T) {
	mountpoint := startLxcfs(t)
	toolkit := filepath.Join(shared.dir, "toolkit-hook") // the hook has no options
	script := fmt.Sprintf("#!/bin/sh\nexec %s --mountpoint %s --runtime-dir %s hook --strict\n",
		shared.toolkit, mountpoint, t.TempDir())
	if err := os.WriteFile(toolkit, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	hookspec := filepath.Join(t.TempDir(), "hookspec.json")
	text := must(t, "hook-spec", "--path", shared.shift, "--lxcfs", toolkit, "isulad").Stdout
	if err := os.WriteFile(hookspec, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	forEachRuntime(t, func(t *testing.T, runtime string) {
		b := newBundle(t, inspectScript+"; head -n 1 /proc/meminfo; touch /proc/meminfo 2>/dev/null || "+
			"echo refused", func(s *specs.Spec) {
			withUserNamespace(s)
			limit := int64(64 << 20)
			s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &limit}
		})
		addMountPoints(t, b.rootfs)
		// As iSulad does, lxcfs-toolkit merges a hookspec into a configuration.
		line := ctr.CommandLine(runtime, shared.toolkit, "--mountpoint", mountpoint, "--runtime-dir",
			t.TempDir(), "runtime", "--strict",
			"--hook-spec", hookspec, "--runtime", runtime, "--", "run", "-b", b.dir, b.id)
		r := engine.Run(t, "", line[0], line[1:]...)
		if r.Code != 0 || r.Stdout != inspectOutput+"MemTotal:          65536 kB\nrefused\n" {
			t.Errorf("%+v", r)
		}
		checkOwners(t, b.rootfs, firstID)
	})
}

// TestManyAtOnce checks that a root file system of several containers that start at the same time
// is shifted once.
func TestManyAtOnce(t *testing.T) {
	shift0 := newBundle(t, inspectScript, nil)
	addMountPoints(t, shift0.rootfs)
	done := make(chan string)
	const n = 8
	for i := range n {
		b := newBundle(t, "stat -c %u /; sleep 0.2", func(s *specs.Spec) { s.Root.Path = shift0.rootfs })
		go func() {
			if i%2 == 0 {
				time.Sleep(time.Duration(i) * time.Millisecond)
			}
			r := engineRun(shared.shift, "runtime", "--mode", "shift", "--user-remap", remap100000, "--",
				"run", "-b", b.dir, b.id)
			done <- r
		}()
	}
	for range n {
		if r := <-done; r != "0\n" {
			t.Errorf("%s", r)
		}
	}
	checkOwners(t, shift0.rootfs, firstID)
}
