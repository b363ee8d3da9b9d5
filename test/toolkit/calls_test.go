//go:build integration

package toolkit

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"palisade/test/engine"
)

// callsScript prints the memory in MiB and the number of CPUs. busybox gets both by system calls.
const callsScript = "free -m | awk '/^Mem:/ {print $2}'; nproc"

// checkCalls checks the output of callsScript in a container with 64 MiB and one CPU.
func checkCalls(t *testing.T, output string) {
	t.Helper()
	if got := strings.Fields(output); len(got) != 2 || got[0] != "64" || got[1] != "1" {
		t.Errorf("the container shows %q MiB and CPUs, want 64 and 1", got)
	}
}

// callsArgs are the arguments of the wrapper that adds the views of system calls.
func (h *host) callsArgs() []string {
	return h.args("runtime", "--strict", "--views", "sysinfo,affinity", "--runtime", "runc", "--")
}

// callsRuntime returns a script that executes the wrapper, for engines whose runtime has no arguments.
func (h *host) callsRuntime(t *testing.T) string {
	t.Helper()
	script := "#!/bin/sh\nexec " + shared.toolkit
	for _, arg := range h.callsArgs() {
		script += fmt.Sprintf(" '%s'", arg)
	}
	file := filepath.Join(h.dir, "runc-with-views")
	if err := os.WriteFile(file, []byte(script+" \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestCallsDocker checks the views of system calls with Docker's own seccomp profile, also after a
// restart and in a program that is executed.
func TestCallsDocker(t *testing.T) {
	engine.ForEachDocker(t, func(t *testing.T, options ...string) {
		h := newHost(t)
		engine.OwnLib(t)
		h.start(t)
		config, err := json.Marshal(map[string]any{"runtimes": map[string]any{
			"views": map[string]any{"path": shared.toolkit, "runtimeArgs": h.callsArgs()},
		}})
		if err != nil {
			t.Fatal(err)
		}
		d, _ := h.startDocker(t, config, options...)
		d.Must(t, "POST", "/containers/create?name=web", map[string]any{
			"Image": "box", "Tty": true, "Cmd": []string{"/bin/sh", "-c", callsScript + "; sleep 1000000"},
			"HostConfig": map[string]any{
				"Runtime": "views", "NetworkMode": "none", "CgroupParent": engine.ParentCgroup(t),
				"Memory": 64 * mib, "CpuPeriod": 100000, "CpuQuota": 100000,
			},
		})
		t.Cleanup(func() { d.Must(t, "DELETE", "/containers/web?force=true", nil) })
		var before int
		for _, action := range []string{"start", "restart?t=0"} {
			d.Must(t, "POST", "/containers/web/"+action, nil)
			var shown []string
			engine.WaitFor(t, "the memory and CPUs of the container", func() bool {
				shown = strings.Fields(d.Must(t, "GET", "/containers/web/logs?stdout=1", nil))
				return len(shown) == before+2
			})
			checkCalls(t, strings.Join(shown[before:], " "))
			before = len(shown)
		}
		r := engine.Run(t, "", "docker", "exec", "web", "/bin/sh", "-c", callsScript)
		checkCalls(t, r.Stdout)
	})
}

// TestCallsPodman checks them with podman and its profile.
func TestCallsPodman(t *testing.T) {
	engine.Need(t, "podman", "runc")
	h := newHost(t)
	engine.OwnLib(t)
	h.start(t)
	r := engine.Run(t, "", "podman", "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--runtime",
		h.callsRuntime(t), "run", "--rm", "--network", "none", "--cgroup-parent", engine.ParentCgroup(t),
		"--memory", "64m", "--cpus", "1", "--rootfs", shared.rootfs, "/bin/sh", "-c", callsScript)
	if r.Code != 0 {
		t.Fatalf("%+v", r)
	}
	checkCalls(t, r.Stdout)
}

// TestCallsContainerd checks them with containerd and its profile.
func TestCallsContainerd(t *testing.T) {
	engine.Need(t, "containerd", "ctr", "runc")
	h := newHost(t)
	engine.OwnLib(t)
	h.start(t)
	h.startContainerd(t)
	r := engine.Run(t, "", "ctr", "run", "--rm", "--seccomp", "--runc-binary", h.callsRuntime(t), "--cgroup",
		engine.ParentCgroup(t)+"/web", "--memory-limit", "67108864", "--cpus", "1", "--rootfs", shared.rootfs,
		"web", "/bin/sh", "-c", callsScript+"; sleep 1") // ctr can lose what is printed last
	if r.Code != 0 || r.Stderr != "" {
		t.Fatalf("%+v", r)
	}
	checkCalls(t, r.Stdout)
}
