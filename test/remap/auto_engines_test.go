//go:build integration

package remap

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"palisade/test/engine"
)

// autoGreeting is the output of greetScript in a container with a range of 65536 ids.
func autoGreeting(first uint32) string {
	return fmt.Sprintf("%10d %10d %10d\n0\n0\n0\n", 0, first, 65536)
}

// TestAutoPodman checks that containers of podman get ranges of their own, and keep them over a
// restart.
func TestAutoPodman(t *testing.T) {
	engine.Need(t, "podman", "runc")
	engine.OwnLib(t)
	seen := make(map[uint32]bool)
	for _, tt := range podmanWays(t) {
		t.Run(tt.name, func(t *testing.T) {
			podman, rootfs := podmanWith(t, tt.global...), tt.rootfs(t)
			t.Cleanup(func() { podman("rm", "--force", "--time", "0", "web") })
			if r := podman("run", "--detach", "--name", "web", "--network", "none", "--cgroup-parent",
				engine.ParentCgroup(t), "--annotation", "palisade.user-remap=auto", "--rootfs", rootfs,
				"/bin/sh", "-c", greetScript); r.Code != 0 {
				t.Fatalf("run: %+v", r)
			}
			id := strings.TrimSpace(podman("inspect", "--format", "{{.ID}}", "web").Stdout)
			owner := id
			if tt.shifts {
				owner = rootfs
			}
			first := rangesOf(t)[owner].First
			if first == 0 || seen[first] {
				t.Fatalf("range %d of %s: %+v", first, owner, rangesOf(t))
			}
			seen[first] = true
			want := autoGreeting(first)
			engine.WaitFor(t, "output", func() bool { return podman("logs", "web").Stdout == want })
			if r := podman("restart", "--time", "0", "web"); r.Code != 0 {
				t.Errorf("restart: %+v", r)
			}
			engine.WaitFor(t, "output after a restart",
				func() bool { return podman("logs", "web").Stdout == want+want })
			podman("rm", "--force", "--time", "0", "web")
			if _, ok := rangesOf(t)[owner]; ok != tt.shifts {
				t.Errorf("after rm: %+v", rangesOf(t))
			}
		})
	}
}

// TestAutoDocker checks that the containers of a daemon get ranges of their own, keep them over a
// restart, and free them when they are removed.
func TestAutoDocker(t *testing.T) {
	engine.Need(t, "dockerd", "containerd", "runc", "tar")
	image := tarOf(t)
	recent := os.Getenv("PALISADE_ENGINES") + "/dockerd"
	// Debian's runc has no time namespaces.
	const ownStore, noTime = "--feature=containerd-snapshotter=false", "--feature=time-namespaces=false"
	for _, tt := range []struct {
		name, dockerd string
		flags         []string
	}{
		{"vfs", "dockerd", []string{"--storage-driver=vfs"}},
		{"overlay2", "dockerd", []string{"--storage-driver=overlay2"}},
		{"29 overlay2", recent, []string{"--ip6tables=false", "--storage-driver=overlay2", ownStore, noTime}},
		{"29 containerd", recent, []string{"--ip6tables=false", "--feature=containerd-snapshotter", noTime}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := exec.LookPath(tt.dockerd); err != nil {
				t.Skipf("PALISADE_ENGINES: no dockerd (make dockerd builds it)")
			}
			engine.OwnLib(t)
			dir := openDir(t)
			file := filepath.Join(dir, "daemon.json")
			text := must(t, "hook-spec", "--path", shared.shift, "--user-remap", "auto", "docker").Stdout
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			engine.Start(t, dir, tt.dockerd, append([]string{"--config-file", file, "--iptables=false",
				"--ip-masq=false", "--bridge=none"}, tt.flags...)...)
			d := engine.NewDocker("/run/docker.sock")
			engine.WaitFor(t, "dockerd to answer", func() bool {
				_, err := d.Call("GET", "/_ping", nil)
				return err == nil
			})
			if _, err := d.Call("POST", "/images/create?fromSrc=-&repo=box",
				bytes.NewReader(image)); err != nil {
				t.Fatal(err)
			}
			hasOutput := func(name, want string) func() bool {
				return func() bool {
					text := d.Must(t, "GET", "/containers/"+name+"/logs?stdout=1&stderr=1", nil)
					return strings.ReplaceAll(text, "\r", "") == want
				}
			}
			seen := make(map[uint32]bool)
			for _, name := range []string{"web", "mail"} {
				d.Must(t, "POST", "/containers/create?name="+name, map[string]any{
					"Image": "box", "Tty": true, "Cmd": []string{"/bin/sh", "-c", greetScript},
					"Healthcheck": map[string]any{
						"Test":     []string{"CMD-SHELL", "test $(id -u) = 0 && echo x >/root/healthy"},
						"Interval": time.Second,
					},
					"HostConfig": map[string]any{
						"NetworkMode": "none", "CgroupParent": engine.ParentCgroup(t)},
				})
				t.Cleanup(func() { d.Call("DELETE", "/containers/"+name+"?force=true", nil) }) // again
				d.Must(t, "POST", "/containers/"+name+"/start", nil)
				var state struct{ State struct{ Pid int } }
				if err := json.Unmarshal([]byte(d.Must(t, "GET", "/containers/"+name+"/json", nil)),
					&state); err != nil {
					t.Fatal(err)
				}
				var first uint32
				if _, err := fmt.Sscan(uidOf(t, state.State.Pid), &first); err != nil {
					t.Fatal(err)
				}
				if first == 0 || seen[first] {
					t.Errorf("%s has range %d", name, first)
				}
				seen[first] = true
				want := autoGreeting(first)
				engine.WaitFor(t, "output of "+name, hasOutput(name, want))
				engine.WaitFor(t, "the health check of "+name, func() bool {
					text := d.Must(t, "GET", "/containers/"+name+"/json", nil)
					return strings.Contains(text, `"Status":"healthy"`)
				})
				if r := engine.Run(t, "", "docker", "exec", name, "stat", "-c", "%u", "/root/healthy",
					"/etc"); r.Stdout != "0\n0\n" {
					t.Errorf("exec in %s: %+v", name, r)
				}
				for owner, l := range rangesOf(t) {
					if l.First == first && l.Kind != "tree" {
						t.Errorf("after the first start %s has %+v, want the tree", owner, l)
					}
				}
				d.Must(t, "POST", "/containers/"+name+"/restart?t=0", nil)
				engine.WaitFor(t, "output of "+name+" after a restart", hasOutput(name, want+want))
				must(t, "ranges", "free", "--unused")
			}
			for owner, l := range rangesOf(t) {
				if !seen[l.First] || l.Kind != "tree" {
					t.Errorf("%s: %+v, want one of %v", owner, l, seen)
				}
			}
			// The files of a stopped container keep their range.
			d.Must(t, "POST", "/containers/web/stop?t=0", nil)
			must(t, "ranges", "free", "--unused")
			if left := rangesOf(t); len(left) != 2 {
				t.Errorf("after a stop: %+v", left)
			}
			for _, name := range []string{"web", "mail"} {
				d.Must(t, "DELETE", "/containers/"+name+"?force=true", nil)
			}
			must(t, "ranges", "free", "--unused")
			if left := rangesOf(t); len(left) != 0 {
				t.Errorf("after the containers were removed: %+v", left)
			}
		})
	}
}
